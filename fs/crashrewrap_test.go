package fs

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/fs/backing/crashdisk"
)

// manyModelKeys is modelKeys with a key for each ARN, which can be lost.
type manyModelKeys struct {
	*modelKeys
	lost []string
}

// under adds the key to the context, so that each key unwraps its own only.
func under(arn string, aad map[string]string) map[string]string {
	out := map[string]string{"arn": arn}
	for k, v := range aad {
		out[k] = v
	}
	return out
}

func (k *manyModelKeys) check(arn string) error {
	if slices.Contains(k.lost, arn) {
		return &types.DisabledException{}
	}
	return nil
}

func (k *manyModelKeys) GenerateDataKey(ctx context.Context, in *kms.GenerateDataKeyInput, o ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	copied := *in
	copied.EncryptionContext = under(*in.KeyId, in.EncryptionContext)
	out, err := k.modelKeys.GenerateDataKey(ctx, &copied, o...)
	if lost := k.check(*in.KeyId); lost != nil {
		return nil, lost
	}
	return out, err
}

func (k *manyModelKeys) Decrypt(ctx context.Context, in *kms.DecryptInput, o ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	if err := k.check(*in.KeyId); err != nil {
		return nil, err
	}
	copied := *in
	copied.EncryptionContext = under(*in.KeyId, in.EncryptionContext)
	return k.modelKeys.Decrypt(ctx, &copied, o...)
}

func (k *manyModelKeys) ReEncrypt(ctx context.Context, in *kms.ReEncryptInput, o ...func(*kms.Options)) (*kms.ReEncryptOutput, error) {
	for _, arn := range []string{*in.SourceKeyId, *in.DestinationKeyId} {
		if err := k.check(arn); err != nil {
			return nil, err
		}
	}
	copied := *in
	copied.SourceEncryptionContext = under(*in.SourceKeyId, in.SourceEncryptionContext)
	copied.DestinationEncryptionContext = under(*in.DestinationKeyId, in.DestinationEncryptionContext)
	return k.modelKeys.ReEncrypt(ctx, &copied, o...)
}

func (k *manyModelKeys) DescribeKey(_ context.Context, in *kms.DescribeKeyInput, _ ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	return &kms.DescribeKeyOutput{KeyMetadata: &types.KeyMetadata{Arn: in.KeyId}}, nil
}

// keyChanges is a volume whose keys are changed on a disk that crashes.
type keyChanges struct {
	t    *testing.T
	r    *rand.Rand
	disk *crashdisk.Disk
	keys *manyModelKeys
	want map[string]string // content by path
	log  bytes.Buffer
}

func (c *keyChanges) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%v\n%s", err, c.log.String())
	}
}

func (c *keyChanges) mount() *kernel {
	c.t.Helper()
	k, err := mountModel(c.disk, c.keys, slog.New(slog.NewTextHandler(&c.log, nil)))
	if err != nil && c.disk.Dead() {
		return nil
	}
	c.must(err)
	return k
}

// fill makes a volume with files, a further name and a directory that is renamed.
func (c *keyChanges) fill() {
	vf, crypto, err := newVolumeFile(context.Background(), &InitOptions{Keys: c.keys, KeyID: modelARN, VolumeID: NewVolumeID()})
	c.must(err)
	c.must(writeVolumeIn(c.disk.Root(), vf, crypto))
	crypto.Wipe()
	k := c.mount()
	r := raw{c.t, k.fs}
	d := r.mkdir(1, "d")
	for i := range 5 {
		name, content := fmt.Sprint("f", i), fmt.Sprint("content ", i, " ", string(bytes.Repeat([]byte("x"), c.r.IntN(9000))))
		id := r.file(d, name, content)
		c.want["/e/"+name] = content
		if i == 2 {
			var out fuse.EntryOut
			r.ok("link", k.fs.Link(nil, &fuse.LinkIn{InHeader: r.header(1), Oldnodeid: id}, "link", &out))
			c.want["/link"] = content
		}
	}
	r.ok("rename", k.fs.Rename(nil, &fuse.RenameIn{InHeader: r.header(1), Newdir: 1}, "d", "e"))
	c.must(k.unmount())
}

// verify mounts and reads everything.
func (c *keyChanges) verify(when string) {
	c.t.Helper()
	k := c.mount()
	o := &Offline{fs: k.fs, ctx: context.Background()}
	for path, want := range c.want {
		f, err := o.Open(path)
		if err != nil {
			c.t.Fatalf("%s: %s: %v\n%s", when, path, err, c.log.String())
		}
		b := make([]byte, len(want))
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != want || f.Size() != int64(len(want)) {
			c.t.Fatalf("%s: %s: %d bytes, %v", when, path, f.Size(), err)
		}
		f.Close()
	}
	if c.r.IntN(2) == 0 {
		c.must(k.unmount())
		return
	}
	c.disk.Reboot(c.r.IntN(2) == 0) // this mount does not end cleanly
	k.fs.vol.close()
}

// until runs change on a disk that dies, until it was done once; then the power goes.
func (c *keyChanges) until(what string, change func(s *fileSystem) (done bool, err error)) {
	c.t.Helper()
	for try := 0; ; try++ {
		if try < 12 {
			c.disk.DieAfter(c.r.IntN(120))
		}
		k := c.mount()
		done := false
		if k != nil {
			var err error
			if done, err = change(k.fs); err != nil && !c.disk.Dead() {
				c.t.Fatalf("%s: %v\n%s", what, err, c.log.String())
			}
			done = done && err == nil
		}
		c.disk.DieAfter(-1)
		c.disk.Reboot(c.r.IntN(3) > 0)
		if k != nil {
			k.fs.vol.close()
		}
		if done {
			return
		}
		c.verify("after a crash during " + what)
	}
}

func (c *keyChanges) rewrap(arn string) {
	var left []string
	c.until("a rewrap", func(s *fileSystem) (bool, error) {
		res, err := (&rewrap{s: s, o: &RewrapOptions{KeyID: arn}}).run(context.Background())
		if err == nil && !res.Finished && !c.disk.Dead() {
			return false, fmt.Errorf("not finished: %+v", res)
		}
		left = res.Left
		return res.Finished, err
	})
	c.keys.lost = append(c.keys.lost, left...)
	c.verify("without the old key")
}

func (c *keyChanges) rekey() {
	c.until("a rekey", func(s *fileSystem) (bool, error) {
		res, err := (&Offline{fs: s, ctx: context.Background()}).Rekey(context.Background(), RekeyOptions{})
		if err == nil && res.Failed > 0 && !c.disk.Dead() {
			return false, fmt.Errorf("failed: %+v", res)
		}
		return res.Failed == 0, err
	})
	c.verify("after a rekey")
}

// Whenever the power goes or the process is killed while keys are changed, every file opens; and once
// a rewrap has said that it is done, without the old key.
func TestKeyChangesSurvivePowerLossAtAnyMoment(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	runs := 12
	if *crashRuns > 0 {
		runs = *crashRuns
	}
	for i := range runs {
		t.Run(fmt.Sprint("seed ", seed+uint64(i)), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed+uint64(i), 7))
			c := &keyChanges{t: t, r: r, keys: &manyModelKeys{modelKeys: newModelKeys()}, want: map[string]string{},
				disk: crashdisk.New(rand.New(rand.NewPCG(seed+uint64(i), 8)))}
			c.fill()
			c.rewrap(modelARN[:len(modelARN)-1] + "1")
			c.rekey()
			c.rewrap(modelARN[:len(modelARN)-1] + "2")
		})
	}
}
