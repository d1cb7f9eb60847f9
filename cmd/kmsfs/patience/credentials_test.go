package patience

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// awsBack answers as AWS does: with credentials of a role, and to whoever has them.
func awsBack(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Amz-Target") != "" {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_, _ = io.WriteString(w, `{"Keys":[]}`)
		return
	}
	_, _ = fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
		<SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

// Credentials of a role are fetched by the attempt that needs them, also by one that has the only turn.
func TestCredentialsThatExpiredMeanwhileAreFetchedWhenTheKeyServiceIsBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	p := New(time.Second)
	loaded, err := config.LoadDefaultConfig(t.Context(), append(p.Options(), config.WithRegion("us-east-1"), config.WithBaseEndpoint("http://"+address),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIA", "s", "")))...)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(loaded), "arn:aws:iam::111122223333:role/r"))
	client := kms.NewFromConfig(loaded)
	if _, err := client.ListKeys(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Fatalf("nobody is there: %v", err)
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Skipf("somebody else has taken the port: %v", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(awsBack)}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	for range 3 {
		if _, err := client.ListKeys(t.Context(), nil); err != nil {
			t.Errorf("it is back: %v", err)
		}
	}
}
