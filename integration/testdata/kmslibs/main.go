// Command kmslibs encrypts and decrypts by each of the Go libraries that other programs reach AWS KMS
// with: the first AWS SDK, Tink, and the seal of Vault and OpenBao. Its argument is the ARN of a key;
// everything else comes from the environment, as with those programs.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/awserr"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/kms"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	seal "github.com/hashicorp/go-kms-wrapping/wrappers/awskms/v2"
	tink "github.com/tink-crypto/tink-go-awskms/v2/integration/awskms"
)

var secret = []byte("what is kept secret")

func main() {
	arn, url := os.Args[1], os.Getenv("AWS_ENDPOINT_URL_KMS")
	client := kms.New(session.Must(session.NewSession(&aws.Config{Endpoint: &url})))
	for name, use := range map[string]func() error{
		"SDK v1": func() error { return sdk(client, arn) },
		"Tink":   func() error { return useTink(client, arn) },
		"seal":   func() error { return useSeal(arn, url) },
	} {
		if err := use(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func sdk(client *kms.KMS, arn string) error {
	sealed, err := client.Encrypt(&kms.EncryptInput{KeyId: &arn, Plaintext: secret, EncryptionContext: aws.StringMap(map[string]string{"a": "b"})})
	if err != nil {
		return err
	}
	opened, err := client.Decrypt(&kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: aws.StringMap(map[string]string{"a": "b"})})
	if err != nil {
		return err
	}
	_, err = client.Decrypt(&kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	var refused awserr.Error
	if !errors.As(err, &refused) || refused.Code() != kms.ErrCodeInvalidCiphertextException {
		return fmt.Errorf("without the encryption context: %v", err)
	}
	return same(opened.Plaintext)
}

func useTink(client *kms.KMS, arn string) error {
	uri := "aws-kms://" + arn
	c, err := tink.NewClientWithOptions(uri, tink.WithKMS(client))
	if err != nil {
		return err
	}
	aead, err := c.GetAEAD(uri)
	if err != nil {
		return err
	}
	sealed, err := aead.Encrypt(secret, []byte("associated"))
	if err != nil {
		return err
	}
	if _, err := aead.Decrypt(sealed, []byte("other")); err == nil {
		return errors.New("decrypted with other associated data")
	}
	opened, err := aead.Decrypt(sealed, []byte("associated"))
	return errors.Join(err, same(opened))
}

func useSeal(arn, url string) error {
	ctx := context.Background()
	w := seal.NewWrapper()
	config := wrapping.WithConfigMap(map[string]string{"kms_key_id": arn, "endpoint": url})
	if _, err := w.SetConfig(ctx, config); err != nil {
		return err
	}
	sealed, err := w.Encrypt(ctx, secret)
	if err != nil {
		return err
	}
	opened, err := w.Decrypt(ctx, sealed)
	return errors.Join(err, same(opened))
}

func same(opened []byte) error {
	if !bytes.Equal(opened, secret) {
		return fmt.Errorf("%q came back", opened)
	}
	return nil
}
