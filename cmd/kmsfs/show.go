package main

// show prints what a command was asked for, unless it failed: with --json as it is, or as the one member
// of an object if that has a name, else by print.
func show[T any](a *app, member string, answer T, err error, print func(T) error) error {
	switch {
	case err != nil:
		return err
	case !a.json:
		return print(answer)
	case member == "":
		return a.ui.JSON(answer)
	}
	return a.ui.JSON(map[string]any{member: answer})
}
