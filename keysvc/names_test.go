package keysvc

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func (f *fixture) alias(name, key string) error {
	_, err := f.CreateAlias(f.ctx(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &key})
	return err
}

func TestAliasFollowsItsKey(t *testing.T) {
	f := newService(t)
	one, two := f.key(), f.key()
	f.must(nil, f.alias("alias/app", one))
	second := openService(t, f.dir, f.clock, token)
	uses := func(want string) {
		t.Helper()
		for _, s := range []*fixture{f, second} {
			for _, name := range []string{"alias/app", "arn:aws:kms:eu-central-1:111122223333:alias/app"} {
				if got := s.describe(name); *got.KeyId != want {
					t.Errorf("%s is %s, want %s", name, *got.KeyId, want)
				}
			}
		}
	}
	uses(one)
	f.must(f.UpdateAlias(f.ctx(), &kms.UpdateAliasInput{AliasName: aws.String("alias/app"), TargetKeyId: &two}))
	uses(two)
	f.must(f.DeleteAlias(f.ctx(), &kms.DeleteAliasInput{AliasName: aws.String("alias/app")}))
	_, err := second.DescribeKey(f.ctx(), &kms.DescribeKeyInput{KeyId: aws.String("alias/app")})
	wantError(t, err, "NotFoundException", "*")
	_, err = f.UpdateAlias(f.ctx(), &kms.UpdateAliasInput{AliasName: aws.String("alias/app"), TargetKeyId: &two})
	wantError(t, err, "NotFoundException", "*")
}

func TestAliasesAreListedInPages(t *testing.T) {
	f := newService(t)
	one, two := f.key(), f.key()
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("alias/%d", i)
		want = append(want, name)
		f.must(nil, f.alias(name, []string{one, two}[i%2]))
	}
	var got []string
	var marker *string
	for {
		out, err := f.ListAliases(f.ctx(), &kms.ListAliasesInput{Limit: aws.Int32(3), Marker: marker})
		f.must(out, err)
		for _, a := range out.Aliases {
			got = append(got, *a.AliasName)
			if *a.AliasArn != "arn:aws:kms:eu-central-1:111122223333:"+*a.AliasName || a.CreationDate == nil || a.LastUpdatedDate == nil {
				t.Errorf("%+v", a)
			}
		}
		if marker = out.NextMarker; !out.Truncated {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v", got)
	}
	out, err := f.ListAliases(f.ctx(), &kms.ListAliasesInput{KeyId: aws.String(f.arn(two))})
	if err != nil || len(out.Aliases) != 3 || *out.Aliases[0].TargetKeyId != two {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestKeyHasAtMostFiftyAliases(t *testing.T) {
	f := newService(t)
	id := f.key()
	for i := range 50 {
		f.must(nil, f.alias(fmt.Sprintf("alias/%d", i), id))
	}
	wantError(t, f.alias("alias/more", id), "LimitExceededException", "*")
}

func TestKeysAreListedInPages(t *testing.T) {
	f := newService(t)
	want := map[string]bool{}
	for range 5 {
		want[f.key()] = true
	}
	var marker *string
	for pages := 1; ; pages++ {
		out, err := f.ListKeys(f.ctx(), &kms.ListKeysInput{Limit: aws.Int32(5), Marker: marker})
		f.must(out, err)
		for _, k := range out.Keys {
			if !want[*k.KeyId] || *k.KeyArn != f.arn(*k.KeyId) {
				t.Errorf("%+v", k)
			}
			delete(want, *k.KeyId)
		}
		if marker = out.NextMarker; marker == nil {
			if pages != 1 {
				t.Errorf("%d pages, of which the last is empty", pages)
			}
			break
		}
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
}

func TestTags(t *testing.T) {
	f := newService(t)
	tag := func(key, value string) types.Tag { return types.Tag{TagKey: &key, TagValue: &value} }
	created, err := f.CreateKey(f.ctx(), &kms.CreateKeyInput{Tags: []types.Tag{tag("b", "1"), tag("a", "")}})
	f.must(created, err)
	id := created.KeyMetadata.KeyId
	list := func() (pairs []string) {
		var marker *string
		for {
			out, err := f.ListResourceTags(f.ctx(), &kms.ListResourceTagsInput{KeyId: id, Limit: aws.Int32(1), Marker: marker})
			f.must(out, err)
			for _, t := range out.Tags {
				pairs = append(pairs, *t.TagKey+"="+*t.TagValue)
			}
			if marker = out.NextMarker; marker == nil {
				return pairs
			}
		}
	}
	if got := list(); !slices.Equal(got, []string{"a=", "b=1"}) {
		t.Errorf("%v", got)
	}
	f.must(f.TagResource(f.ctx(), &kms.TagResourceInput{KeyId: id, Tags: []types.Tag{tag("b", "2"), tag("c", "3")}}))
	f.must(f.UntagResource(f.ctx(), &kms.UntagResourceInput{KeyId: id, TagKeys: []string{"a", "never"}}))
	if got := list(); !slices.Equal(got, []string{"b=2", "c=3"}) {
		t.Errorf("%v", got)
	}
	var many []types.Tag
	for i := range maxTags {
		many = append(many, tag(fmt.Sprint("x", i), ""))
	}
	_, err = f.TagResource(f.ctx(), &kms.TagResourceInput{KeyId: id, Tags: many})
	wantError(t, err, "TagException", "Too many tags")
	if got := list(); len(got) != 2 {
		t.Errorf("a refused call has left %v", got)
	}
}

func TestServiceNeedsItsParts(t *testing.T) {
	f := newService(t)
	good := f.config
	for name, change := range map[string]func(c *Config){
		"no token":    func(c *Config) { c.Token = nil },
		"no store":    func(c *Config) { c.Store = nil },
		"no audit":    func(c *Config) { c.Audit = nil },
		"bad account": func(c *Config) { c.Account = "123" },
		"bad region":  func(c *Config) { c.Region = "Frankfurt" },
	} {
		c := good
		change(&c)
		if _, err := New(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
