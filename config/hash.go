package config

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// hashRounds makes guessing a weak secret from a hash and the rest of the configuration cost about a millisecond a guess.
const hashRounds = 10_000

// Hash returns 12 hex digits that are the same for the same configuration in force, on every machine, however the file says
// it. Secrets and the content of the files of fixed answers count. A secret cannot be read from it, and guessing one is slow.
// Linear in the size of the configuration.
func (c *Config) Hash() string {
	var d digester
	d.add(reflect.ValueOf(c).Elem())
	key, err := pbkdf2.Key(sha256.New, d.secrets.String(), []byte("weir configuration"), hashRounds, sha256.Size)
	if err != nil {
		panic("BUG: derive from secrets: " + err.Error())
	}
	sum := sha256.Sum256(append(d.open, key...))
	return hex.EncodeToString(sum[:6])
}

// digester writes values out so that different ones differ, secrets apart from the rest.
type digester struct {
	open    []byte
	secrets strings.Builder
}

func (d *digester) add(v reflect.Value) {
	if v.Type() == secretType {
		s := v.String()
		d.secrets.WriteString(strconv.Itoa(len(s)) + ":" + s)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if !isKeys(v.Type()) {
			for i := range v.NumField() {
				d.add(v.Field(i))
			}
			break
		}
		l := layoutOf(v.Type())
		for i := range l.fields {
			d.open = append(append(d.open, l.fields[i].key...), '=')
			d.add(v.Field(l.fields[i].index))
		}
	case reflect.Slice:
		d.number(v.Len())
		for i := range v.Len() {
			d.add(v.Index(i))
		}
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			d.open = append(d.open, '-')
			return
		}
		d.open = append(d.open, '*')
		d.add(v.Elem())
	case reflect.String:
		d.number(v.Len())
		d.open = append(d.open, v.String()...)
	case reflect.Bool:
		d.open = strconv.AppendBool(d.open, v.Bool())
	case reflect.Float64:
		d.open = strconv.AppendUint(d.open, math.Float64bits(v.Float()), 16)
	default:
		d.open = strconv.AppendInt(d.open, v.Int(), 10)
	}
	d.open = append(d.open, ';')
}

func (d *digester) number(n int) {
	d.open = append(strconv.AppendInt(d.open, int64(n), 10), ':')
}
