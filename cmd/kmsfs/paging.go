package main

// allPages collects what a listing of the AWS KMS API gives page by page: page asks for the one after
// a marker, nil for the first. The result is never nil, so that it shows as an empty list in JSON.
func allPages[T any](page func(marker *string) (items []T, truncated bool, next *string, err error)) ([]T, error) {
	all := []T{}
	var marker *string
	for {
		items, truncated, next, err := page(marker)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if !truncated {
			return all, nil
		}
		marker = next
	}
}
