package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/spf13/cobra"
)

func newKeyLastUsageCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Aliases: []string{"get-key-last-usage"},
		Use:     "last-usage KEY",
		Short:   "tell when a key was last used, and by which operation",
		Long: `The last successful use of the key's material. Before a key is deleted, disable it first and see who fails:
kmsfs audit --errors --key-id KEY.`,
		Args: needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				out, err := s.GetKeyLastUsage(c.Context(), &kms.GetKeyLastUsageInput{KeyId: id})
				return show(a, "", out, err, a.printLastUsage)
			})
		},
	}
}

func (a *app) printLastUsage(u *kms.GetKeyLastUsageOutput) error {
	last, when := u.KeyLastUsage, "never"
	if last != nil && last.Timestamp != nil {
		when = localTime(*last.Timestamp)
	}
	fields := []string{"Key", aws.ToString(u.KeyId), "Last used", when}
	if last != nil {
		fields = append(fields, "Operation", string(last.Operation), "Request", aws.ToString(last.KmsRequestId), "Audit record", aws.ToString(last.CloudTrailEventId))
	}
	return a.ui.Fields(append(fields, "Recorded since", localTime(aws.ToTime(u.TrackingStartDate)), "Created", localTime(aws.ToTime(u.KeyCreationDate)))...)
}
