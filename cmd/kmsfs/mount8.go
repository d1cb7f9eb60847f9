package main

import "strings"

// helperArgs turns the arguments that mount(8) and mount.fuse give a helper,
//
//	SOURCE DIRECTORY [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]
//
// into those of kmsfs mount. -f means "fake" there and "foreground" here, so none of the
// single-letter flags may get through.
func helperArgs(args []string) []string {
	out := []string{"mount"}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case (arg == "-o" || arg == "-t" || arg == "-N") && i+1 < len(args):
			if arg == "-o" {
				out = append(out, "-o", args[i+1])
			}
			i++
		case strings.HasPrefix(arg, "-o"):
			out = append(out, "-o", arg[2:])
		case strings.HasPrefix(arg, "-") && strings.Trim(arg[1:], "sfnvr") == "":
		default:
			out = append(out, arg)
		}
	}
	return out
}
