package main

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/spf13/cobra"
)

func newKeyRotateCommand(a *app) *cobra.Command {
	const long = `The key gets a new backing key in the HSM. What was wrapped before stays readable: the old
backing keys go on unwrapping.`
	return a.eachKeyCommand("rotate KEY...", "make a new backing key now", long,
		func(ctx context.Context, s keyClient, id string) error {
			_, err := s.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: aws.String(id)})
			return err
		})
}

func newKeyRotationCommand(a *app) *cobra.Command {
	return newParent("rotation", "automatic rotation of a key",
		newRotationEnableCommand(a), newRotationDisableCommand(a), newRotationStatusCommand(a), newRotationListCommand(a))
}

func newRotationEnableCommand(a *app) *cobra.Command {
	var days int32
	c := a.eachKeyCommand("enable KEY...", "rotate keys by themselves", "",
		func(ctx context.Context, s keyClient, id string) error {
			_, err := s.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{
				KeyId: aws.String(id), RotationPeriodInDays: aws.Int32(days)})
			return err
		})
	c.Flags().Int32Var(&days, "days", 365, "period in days, 90 to 2560")
	return c
}

func newRotationDisableCommand(a *app) *cobra.Command {
	return a.eachKeyCommand("disable KEY...", "stop rotating keys by themselves", "",
		func(ctx context.Context, s keyClient, id string) error {
			_, err := s.DisableKeyRotation(ctx, &kms.DisableKeyRotationInput{KeyId: aws.String(id)})
			return err
		})
}

func newRotationStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status KEY",
		Short: "tell whether and when a key rotates",
		Args:  needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				out, err := s.GetKeyRotationStatus(c.Context(), &kms.GetKeyRotationStatusInput{KeyId: id})
				return show(a, "", out, err, a.printRotation)
			})
		},
	}
}

func (a *app) printRotation(r *kms.GetKeyRotationStatusOutput) error {
	var period string
	if r.RotationPeriodInDays != nil {
		period = strconv.Itoa(int(*r.RotationPeriodInDays)) + " days"
	}
	return a.ui.Fields(
		"Key", aws.ToString(r.KeyId),
		"Automatic", strconv.FormatBool(r.KeyRotationEnabled),
		"Period", period,
		"Next", localTime(aws.ToTime(r.NextRotationDate)))
}

func newRotationListCommand(a *app) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:     "list KEY [--all]",
		Aliases: []string{"ls"},
		Short:   "list a key's rotations, or all of its material",
		Args:    needArgs("KEY"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.onKey(c.Context(), args[0], func(s keyClient, id *string) error {
				list, err := listRotations(c.Context(), s, id, all)
				switch {
				case err != nil:
					return err
				case a.json:
					return a.ui.JSON(map[string]any{"Rotations": list})
				case all:
					return a.printMaterial(list)
				}
				var rows [][]string
				for _, r := range list {
					rows = append(rows, []string{localTime(aws.ToTime(r.RotationDate)), string(r.RotationType), orDash(aws.ToString(r.KeyMaterialId))})
				}
				return a.ui.Table([]string{"WHEN", "WHY", "MATERIAL"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all material: the first, which no rotation made, and what waits for one, too")
	return c
}

// printMaterial prints what material a key has.
func (a *app) printMaterial(list []types.RotationsListEntry) error {
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{aws.ToString(r.KeyMaterialId), string(r.KeyMaterialState), orDash(string(r.ImportState)),
			orDash(localTime(aws.ToTime(r.RotationDate))), orDash(localTime(aws.ToTime(r.ValidTo))), orDash(aws.ToString(r.KeyMaterialDescription))})
	}
	return a.ui.Table([]string{"MATERIAL", "STATE", "IMPORT", "ROTATED", "EXPIRES", "DESCRIPTION"}, rows)
}

func listRotations(ctx context.Context, s keyClient, id *string, all bool) ([]types.RotationsListEntry, error) {
	include := types.IncludeKeyMaterialRotationsOnly
	if all {
		include = types.IncludeKeyMaterialAllKeyMaterial
	}
	return allPages(func(marker *string) ([]types.RotationsListEntry, bool, *string, error) {
		out, err := s.ListKeyRotations(ctx, &kms.ListKeyRotationsInput{KeyId: id, IncludeKeyMaterial: include, Marker: marker})
		if err != nil {
			return nil, false, nil, err
		}
		return out.Rotations, out.Truncated, out.NextMarker, nil
	})
}
