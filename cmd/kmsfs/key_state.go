package main

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/spf13/cobra"
)

func newKeyEnableCommand(a *app) *cobra.Command {
	return a.eachKeyCommand("enable KEY...", "let keys be used again", "",
		func(ctx context.Context, s keyClient, id string) error {
			_, err := s.EnableKey(ctx, &kms.EnableKeyInput{KeyId: aws.String(id)})
			return err
		})
}

func newKeyDisableCommand(a *app) *cobra.Command {
	const long = `Files that are open go on working: their data keys are held by the mount. The next open of any
file of a volume under this key fails with "Key has been revoked", until kmsfs key enable.`
	return a.eachKeyCommand("disable KEY...", "forbid the use of keys, at the next open", long,
		func(ctx context.Context, s keyClient, id string) error {
			_, err := s.DisableKey(ctx, &kms.DisableKeyInput{KeyId: aws.String(id)})
			return err
		})
}

// eachKeyCommand makes a command that does one thing to each KEY and prints nothing.
func (a *app) eachKeyCommand(use, short, long string, do func(context.Context, keyClient, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Args: needSome("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withKeys(ctx, func(s keyClient) error {
				return each(args, func(key string) error {
					id, err := keyID(ctx, s, key)
					if err == nil {
						err = do(ctx, s, id)
					}
					return wrapf(err, "%s %s", c.Name(), key)
				})
			})
		},
	}
}

func newKeyScheduleDeletionCommand(a *app) *cobra.Command {
	var days int32
	c := &cobra.Command{
		Use:   "schedule-deletion KEY [--days N]",
		Short: "delete a key after a waiting period; until then it can't be used",
		Long: `Every file whose data key is wrapped by this key is lost for good when the waiting period ends: the
backing keys are destroyed in the HSM. Until then: kmsfs key cancel-deletion KEY.`,
		Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				out, err := s.ScheduleKeyDeletion(c.Context(), &kms.ScheduleKeyDeletionInput{
					KeyId: id, PendingWindowInDays: aws.Int32(days)})
				if err != nil {
					return err
				}
				if a.json {
					return a.ui.JSON(out)
				}
				a.ui.Line("%s will be deleted on %s", aws.ToString(out.KeyId), localTime(aws.ToTime(out.DeletionDate)))
				return nil
			})
		},
	}
	c.Flags().Int32Var(&days, "days", 30, "waiting period in days, 7 to 30")
	return c
}

func newKeyCancelDeletionCommand(a *app) *cobra.Command {
	const long = `The key is disabled afterwards; kmsfs key enable KEY makes it usable.`
	return a.eachKeyCommand("cancel-deletion KEY...", "keep keys that wait for deletion", long,
		func(ctx context.Context, s keyClient, id string) error {
			_, err := s.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: aws.String(id)})
			return err
		})
}

func newKeyUpdateDescriptionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "update-description KEY TEXT",
		Short: "change what a key says it is for",
		Args:  needArgs("KEY", "TEXT"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				_, err := s.UpdateKeyDescription(c.Context(), &kms.UpdateKeyDescriptionInput{
					KeyId: id, Description: aws.String(args[1])})
				return err
			})
		},
	}
}
