package main

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

func newKeyPolicyCommand(a *app) *cobra.Command {
	return newParent("policy", "the policy of a key", newPolicyGetCommand(a), newPolicyPutCommand(a), newPolicyListCommand(a))
}

func newPolicyGetCommand(a *app) *cobra.Command {
	var b bytesFlags
	c := &cobra.Command{
		Use:   "get KEY [--out FILE]",
		Short: "print the policy of a key",
		Args:  needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				out, err := s.GetKeyPolicy(c.Context(), &kms.GetKeyPolicyInput{KeyId: id})
				if err != nil {
					return err
				}
				return a.result(out, b.out, []byte(aws.ToString(out.Policy)+"\n"))
			})
		},
	}
	b.add(c, "", "the policy")
	return c
}

func newPolicyPutCommand(a *app) *cobra.Command {
	var b bytesFlags
	var bypass bool
	c := &cobra.Command{
		Use:   "put KEY [--in FILE]",
		Short: "set the policy of a key",
		Long: `The key service of kmsfs takes only what means the same as the policy that a key has anyway: the account's
root may do everything, and grants let others use the key. AWS KMS takes any policy.`,
		Example: `  kmsfs key policy get alias/app >policy.json
  kmsfs key policy put alias/app --in policy.json`,
		Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			policy, err := a.readBytes(b.in)
			if err != nil {
				return err
			}
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				_, err := s.PutKeyPolicy(c.Context(), &kms.PutKeyPolicyInput{KeyId: id, Policy: aws.String(string(policy)), BypassPolicyLockoutSafetyCheck: bypass})
				return explainPolicy(err)
			})
		},
	}
	b.add(c, "the policy, JSON", "")
	addBypassFlag(c, &bypass)
	return c
}

func newPolicyListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list KEY",
		Aliases: []string{"ls"},
		Short:   "the names of a key's policies, of which there is one",
		Args:    needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				names, err := listPolicies(c.Context(), s, id)
				return show(a, "PolicyNames", names, err, a.printPolicyNames)
			})
		},
	}
}

func (a *app) printPolicyNames(names []string) error {
	for _, name := range names {
		a.ui.Line("%s", name)
	}
	return nil
}

func listPolicies(ctx context.Context, s keyClient, id *string) ([]string, error) {
	return allPages(func(marker *string) ([]string, bool, *string, error) {
		out, err := s.ListKeyPolicies(ctx, &kms.ListKeyPoliciesInput{KeyId: id, Marker: marker})
		if err != nil {
			return nil, false, nil, err
		}
		return out.PolicyNames, out.Truncated, out.NextMarker, nil
	})
}

// policyFlags are the flags of commands that make a key with a policy.
type policyFlags struct {
	file     string
	bypass   bool
	document *string // what read has read
}

func (f *policyFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "policy", "", "file with its policy, JSON; see kmsfs key policy put")
	addBypassFlag(c, &f.bypass)
}

func addBypassFlag(c *cobra.Command, bypass *bool) {
	c.Flags().BoolVar(bypass, "bypass-policy-lockout-safety-check", false, "take a policy that locks the caller out, too")
}

// read reads the file, if one is named.
func (f *policyFlags) read(a *app) error {
	if f.file == "" {
		return nil
	}
	policy, err := a.readBytes(f.file)
	f.document = aws.String(string(policy))
	return err
}

// explain is explainPolicy if there was a policy.
func (f *policyFlags) explain(err error) error {
	if f.document == nil {
		return err
	}
	return explainPolicy(err)
}

// explainPolicy adds what to do about a policy that was refused.
func explainPolicy(err error) error {
	var malformed *types.MalformedPolicyDocumentException
	var unsupported *types.UnsupportedOperationException
	switch {
	case errors.As(err, &malformed):
		return &appError{err: err, hints: []string{"see one that is well formed: kmsfs key policy get KEY"}}
	case errors.As(err, &unsupported):
		return &appError{err: err, hints: []string{"let others use the key by grants: kmsfs grant create KEY --grantee ARN --operations OP,..."}}
	}
	return err
}
