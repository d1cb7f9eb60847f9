package main

import (
	"encoding/hex"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "refreader:", err)
		os.Exit(1)
	}
}

// run does what the arguments say.
func run(args []string) error {
	switch {
	case len(args) >= 2 && args[0] == "vector":
		for _, path := range args[1:] {
			if err := checkVectorFile(path); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		return nil
	case len(args) == 3 && args[0] == "cat":
		return printFile(args[1], args[2])
	}
	return fmt.Errorf("usage: refreader vector FILE... | refreader cat HEX-DATA-KEY FILE")
}

// printFile writes the plaintext of an encrypted file to standard output.
func printFile(hexKey, path string) error {
	key, err := hex.DecodeString(hexKey)
	if err != nil {
		return err
	}
	image, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := openFile(image, key, true)
	if err != nil {
		return err
	}
	plain, err := f.content()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(plain)
	return err
}
