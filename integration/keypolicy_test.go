package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The document that get-key-policy prints is one that put-key-policy and create-key take.
func TestTheAWSCommandLineReadsAndPutsKeyPolicies(t *testing.T) {
	s := startKeyServer(t)
	id := s.aws("create-key")["KeyMetadata"].(map[string]any)["KeyId"].(string)
	if got := s.aws("list-key-policies", "--key-id", id)["PolicyNames"].([]any); len(got) != 1 || got[0] != "default" {
		t.Errorf("%v", got)
	}
	policy := s.aws("get-key-policy", "--key-id", id, "--policy-name", "default")["Policy"].(string)
	if !strings.Contains(policy, `"AWS" : "arn:aws:iam::000000000000:root"`) {
		t.Errorf("%s", policy)
	}
	renamed := strings.ReplaceAll(policy, "Enable IAM User Permissions", "put by aws")
	file := func(name, document string) string {
		path := filepath.Join(s.dir, name)
		must(t, os.WriteFile(path, []byte(document), 0o600))
		return "file://" + path
	}
	s.aws("put-key-policy", "--key-id", id, "--policy-name", "default", "--policy", file("renamed", renamed), "--bypass-policy-lockout-safety-check")
	if got := s.aws("get-key-policy", "--key-id", id, "--policy-name", "default")["Policy"]; got != renamed {
		t.Errorf("%s", got)
	}
	everybody := strings.ReplaceAll(policy, "arn:aws:iam::000000000000:root", "*")
	s.refused(s.env, "(UnsupportedOperationException) when calling the PutKeyPolicy operation: Only key policies that mean the same",
		"put-key-policy", "--key-id", id, "--policy-name", "default", "--policy", file("everybody", everybody))
	s.refused(s.env, "(MalformedPolicyDocumentException) when calling the CreateKey operation: Policy contains a statement with one or more invalid principals.",
		"create-key", "--policy", strings.ReplaceAll(policy, "arn:aws:iam::000000000000:root", "AIDACKCEVSQ6C2EXAMPLE"))
	s.refused(s.env, "(NotFoundException) when calling the GetKeyPolicy operation: No such policy exists", "get-key-policy", "--key-id", id, "--policy-name", "other")
	made := s.aws("create-key", "--multi-region", "--policy", file("renamed", renamed))["KeyMetadata"].(map[string]any)["KeyId"].(string)
	replica := s.aws("replicate-key", "--key-id", made, "--replica-region", "eu-west-1", "--policy", policy)
	if replica["ReplicaPolicy"] != policy {
		t.Errorf("%v", replica)
	}
	s.refused(s.credentials("bob"), "AccessDeniedException", "get-key-policy", "--key-id", id, "--policy-name", "default")
}
