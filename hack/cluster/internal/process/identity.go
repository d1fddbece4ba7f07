// Package process starts, identifies and ends processes so that only those a
// cluster started itself are ever signalled.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// An Identity names one process forever.  A pid alone does not: the kernel
// hands it out again, so the start time goes with it, and as that counts from
// the boot, the boot's id too.
type Identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

// Identify returns the identity of the process that has the pid now.
func Identify(pid int) (Identity, error) {
	s, err := readStat("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return Identity{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, Start: s.start, Boot: string(bytes.TrimSpace(boot))}, nil
}

// Alive reports whether the process still runs.  A zombie does not: it only waits
// to be reaped, which some process 1 does late, and kill(pid, 0) counts it.
func (id Identity) Alive() bool {
	if id.PID <= 0 {
		return false
	}
	now, err := Identify(id.PID)
	if err != nil || now != id {
		return false
	}
	s, err := readStat("/proc/" + strconv.Itoa(id.PID))
	return err == nil && s.state != 'Z' && s.state != 'X'
}

// Signal sends the signal to the process, if it is still the same one.
func (id Identity) Signal(s syscall.Signal) error {
	if !id.Alive() {
		return os.ErrProcessDone
	}
	return syscall.Kill(id.PID, s)
}

// Stop asks the process to end, and after the grace period ends it.
func (id Identity) Stop(grace time.Duration) error {
	if err := id.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return nil
	} else if err != nil {
		return err
	}
	if id.waitGone(grace) {
		return nil
	}
	_ = id.Signal(syscall.SIGKILL)
	if id.waitGone(10 * time.Second) {
		return nil
	}
	return fmt.Errorf("process %d does not end although it was killed", id.PID)
}

func (id Identity) waitGone(limit time.Duration) bool {
	for end := time.Now().Add(limit); id.Alive(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Record writes the identity to a file, at once and whole.
func (id Identity) Record(file string) error {
	temporary := file + ".tmp"
	line := fmt.Sprintf("%d %d %s\n", id.PID, id.Start, id.Boot)
	if err := os.WriteFile(temporary, []byte(line), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, file)
}

// Recorded reads what Record wrote.  A file that is missing or was cut short by
// a full disk gives the zero Identity, which is not alive.
func Recorded(file string) (Identity, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, nil
	}
	if err != nil {
		return Identity{}, err
	}
	var id Identity
	if n, _ := fmt.Sscanf(string(b), "%d %d %s", &id.PID, &id.Start, &id.Boot); n != 3 {
		return Identity{}, nil
	}
	return id, nil
}

type stat struct {
	state byte
	start uint64
}

// readStat reads the fields wanted of /proc/PID/stat.
func readStat(dir string) (stat, error) {
	b, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(b))
}

// parseStat starts after the last parenthesis, since a command name may hold
// anything, spaces and parentheses too.
func parseStat(line string) (stat, error) {
	_, rest, ok := cutLast(line, ")")
	fields := strings.Fields(rest)
	const startIndex = 22 - 3 // field 22 of proc(5); the first one here is field 3
	if !ok || len(fields) <= startIndex {
		return stat{}, fmt.Errorf("not a stat line: %q", line)
	}
	start, err := strconv.ParseUint(fields[startIndex], 10, 64)
	if err != nil {
		return stat{}, err
	}
	return stat{state: fields[0][0], start: start}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
