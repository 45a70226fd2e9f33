package emulator

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
)

// File is a file that the app uploaded.
type File struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Title string `json:"title"`
	Size  int    `json:"size"` // in bytes
	// Channel and ThreadTS are where it was shared.
	Channel  string `json:"channel"`
	ThreadTS string `json:"thread_ts,omitempty"`
	Content  []byte `json:"-"`

	came bool
}

func (f File) wire() reply {
	return reply{"id": f.ID, "name": f.Name, "title": f.Title, "size": f.Size, "mode": "hosted", "user": Bot}
}

// Files are the files that were shared, oldest first.
func (s *Slack) Files() []File { return snapshot(s, func() []*File { return s.files }) }

func (s *Slack) filesGetUploadURL(a args) (reply, error) {
	size, err := strconv.Atoi(a["length"])
	switch {
	case a["filename"] == "":
		return nil, &apiError{code: "invalid_arguments", messages: []string{"[ERROR] missing required field: filename"}}
	case err != nil || size <= 0:
		return nil, &apiError{code: "invalid_arguments", messages: []string{"[ERROR] must be greater than 0 [json-pointer:/length]"}}
	case size > maxBody:
		return nil, fail("file_upload_size_restricted")
	}
	f := &File{ID: s.id("F0"), Name: a["filename"], Title: a["filename"], Size: size}
	s.uploads[f.ID] = f
	return reply{"upload_url": s.base + "/upload/" + f.ID, "file_id": f.ID}, nil
}

// serveUpload takes a file's bytes, raw or as the file of a multipart form. The
// id in the address is the right to send them, once.
func (s *Slack) serveUpload(w http.ResponseWriter, r *http.Request) {
	do := func(w http.ResponseWriter) {
		raw, err := readUpload(w, r)
		if err != nil {
			http.Error(w, "cannot read the upload", http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		f := s.uploads[r.PathValue("file")]
		switch {
		case f == nil || f.came:
			http.Error(w, "no such upload", http.StatusNotFound)
		case len(raw) != f.Size:
			http.Error(w, "the length is not as announced", http.StatusBadRequest)
		default:
			f.Content, f.came = raw, true
			_, _ = io.WriteString(w, "OK - "+strconv.Itoa(len(raw)))
		}
	}
	if !s.misbehave(w, r, "upload", do) {
		do(w)
	}
}

func readUpload(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody+1<<20)
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "multipart/form-data" {
		return io.ReadAll(r.Body)
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, err
	}
	for {
		p, err := parts.NextPart()
		if err != nil {
			return nil, err
		}
		if p.FileName() != "" {
			return io.ReadAll(p)
		}
	}
}

// filesCompleteUpload shares uploaded files in a channel or its thread.
func (s *Slack) filesCompleteUpload(a args) (reply, error) {
	var list []struct{ ID, Title string }
	if json.Unmarshal([]byte(a["files"]), &list) != nil || len(list) == 0 {
		return nil, fail("invalid_arguments")
	}
	var files []*File
	for _, l := range list {
		f := s.uploads[l.ID]
		if f == nil || !f.came || slices.Contains(files, f) {
			return nil, fail("file_not_found")
		}
		files = append(files, f)
	}
	var to *Channel
	if a["channel_id"] != "" {
		var err error
		if to, err = s.target(a["channel_id"]); err != nil {
			return nil, err
		}
	}
	out, shared := []reply{}, []File{}
	for i, f := range files {
		delete(s.uploads, f.ID)
		if list[i].Title != "" {
			f.Title = list[i].Title
		}
		if to != nil {
			f.Channel, f.ThreadTS = to.ID, a["thread_ts"]
		}
		s.files = append(s.files, f)
		out, shared = append(out, reply{"id": f.ID, "title": f.Title}), append(shared, *f)
	}
	if to != nil {
		s.add(&Message{Channel: to.ID, User: Bot, Text: a["initial_comment"], ThreadTS: a["thread_ts"], Files: shared})
	}
	return reply{"files": out}, nil
}
