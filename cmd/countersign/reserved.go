package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// reservedFile is a new file of mode 0600 that was made before it is known what
// will stand in it. A nil one does nothing.
type reservedFile struct {
	file   *os.File
	filled bool
}

// reserve makes the file; an empty path reserves nothing.
func reserve(path string) (*reservedFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists already and is not overwritten: move it away or choose another name", path)
	}
	if err != nil {
		return nil, err
	}
	return &reservedFile{file: f}, nil
}

// fill writes the content, once.
func (r *reservedFile) fill(text string) error {
	_, err := r.file.WriteString(text)
	if err = errors.Join(err, r.file.Sync(), r.file.Close()); err != nil {
		return err
	}
	r.filled = true
	return nil
}

// discard removes a file that was never filled.
func (r *reservedFile) discard() error {
	if r == nil || r.filled {
		return nil
	}
	_ = r.file.Close() // a second close after a failed fill
	return os.Remove(r.file.Name())
}
