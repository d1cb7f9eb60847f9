package fs

// fsync is sync for fsync(2), which on journaling filesystems also makes every earlier change of
// names and attributes durable: of the file, of the new directories above it, of what was renamed.
// Without such a change since the file's last one, sync is enough, which may spare the journal.
// in.mu is held.
func (s *fileSystem) fsync(in *inode, of *openFile) error {
	changes := s.changes.Load() + 1
	if in.file.changes == changes {
		err := s.sync(in, of)
		if err == nil {
			s.noteDurable(in, of)
		}
		return err
	}
	of.store.WantAll()
	err := s.sync(in, of)
	if err == nil && of.store.WantsAll() { // there was no data to flush
		err = of.store.Sync()
	}
	if err == nil {
		in.file.changes = changes
		s.noteDurable(in, of)
	}
	return err
}
