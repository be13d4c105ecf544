// Extracts a tar with Go's archive/tar, as its documentation shows: extract PAYLOAD FOLDER.
package main

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if err := extract(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func extract(payload, folder string) error {
	file, err := os.Open(payload)
	if err != nil {
		return err
	}
	defer file.Close()
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		path := filepath.Join(folder, header.Name)
		mode := header.FileInfo().Mode().Perm()
		switch header.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, mode)
		case tar.TypeSymlink:
			err = os.Symlink(header.Linkname, path)
		case tar.TypeReg:
			err = write(path, mode, archive)
		default:
			err = fmt.Errorf("%s: an entry of type %q", header.Name, header.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

func write(path string, mode os.FileMode, from io.Reader) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, from); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
