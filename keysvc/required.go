package keysvc

// required refuses an input without a member that is required here, though not
// in every use of its operation. Package shape checks all others.
func required(member string, given bool) error {
	if given {
		return nil
	}
	return refuse(KindValidation, "1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
}
