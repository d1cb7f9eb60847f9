package awsjson

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go/middleware"
)

// wire is an HTTP client that decodes what the SDK sends and answers with what
// this package encodes.
type wire struct {
	decoded any // pointer to an input struct
	answer  any // pointer to an output struct
	err     error
}

func (w *wire) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if w.err = decode(body, w.decoded); w.err != nil {
		return nil, w.err
	}
	text := encode(w.answer)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(text)), Request: r}, nil
}

// The SDK writes every input, and reads every output, of the whole API.
func TestTheSDKAndThisPackageUnderstandEachOther(t *testing.T) {
	w := &wire{}
	client := kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://kms.test"), HTTPClient: w, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, nil
		}),
	})
	random := rand.New(rand.NewPCG(1, 2))
	methods := reflect.ValueOf(client)
	operations := 0
	for i := range methods.NumMethod() {
		name, m := methods.Type().Method(i).Name, methods.Method(i)
		if m.Type().NumIn() != 3 || m.Type().NumOut() != 2 {
			continue
		}
		operations++
		t.Run(name, func(t *testing.T) {
			for range 20 {
				exchange(t, w, m, random)
			}
		})
	}
	if operations < 50 {
		t.Errorf("the SDK has only %d operations?", operations)
	}
}

func exchange(t *testing.T, w *wire, m reflect.Value, random *rand.Rand) {
	in := reflect.New(m.Type().In(1).Elem())
	fill(random, in.Elem())
	out := reflect.New(m.Type().Out(0).Elem())
	fill(random, out.Elem())
	w.decoded, w.answer = reflect.New(in.Type().Elem()).Interface(), out.Interface()
	result := m.Call([]reflect.Value{reflect.ValueOf(t.Context()), in})
	if err, _ := result[1].Interface().(error); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(in.Interface(), w.decoded) {
		t.Fatalf("sent %+v, decoded %+v", in.Interface(), w.decoded)
	}
	got := result[0].Elem()
	got.FieldByName("ResultMetadata").Set(reflect.ValueOf(middleware.Metadata{}))
	if !reflect.DeepEqual(got.Interface(), out.Elem().Interface()) {
		t.Fatalf("encoded %+v, the SDK read %+v", out.Elem().Interface(), got.Interface())
	}
}

// fill sets every member to something that is not its zero value, flags aside.
func fill(random *rand.Rand, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(random, v.Elem())
		return
	case v.Type() == timeType:
		halves := random.Int64N(1 << 32) // the SDK reads seconds as a float of nanoseconds
		v.Set(reflect.ValueOf(time.UnixMilli(halves * 500).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text(random))
	case reflect.Bool:
		v.SetBool(random.IntN(2) == 0)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(int32(random.Uint32())))
	case reflect.Uint8:
		v.SetUint(uint64(random.UintN(256)))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+random.IntN(3), 3))
		for i := range v.Len() {
			fill(random, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(text(random)), reflect.ValueOf(text(random)))
	case reflect.Struct:
		fillStruct(random, v)
	}
}

func fillStruct(random *rand.Rand, v reflect.Value) {
	for i := range v.NumField() {
		if isMember(v.Type().Field(i)) {
			fill(random, v.Field(i))
		}
	}
}

func text(random *rand.Rand) string {
	alphabet := []rune("aZ0 /\\\"\u0001\n<>&äß€\u2028\U0001f511")
	var s strings.Builder
	for range 1 + random.IntN(8) {
		s.WriteRune(alphabet[random.IntN(len(alphabet))])
	}
	return s.String()
}
