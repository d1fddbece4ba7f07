package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cert-manager/cert-manager/functionmesh-cluster/internal/process"
)

// Down stops the cluster and removes everything it made, its folder too unless
// keepData.  Doing it again, or after a crash, or with no cluster there, is fine.
func Down(l Layout, keepData bool) error {
	release, err := l.lock(false)
	if errors.Is(err, fs.ErrNotExist) {
		// The folder was removed by hand: what has its name may be left.
		return l.stopEverything()
	}
	if err != nil {
		return err
	}
	defer release()
	state, err := l.loadState()
	if err != nil {
		return err
	}
	if err := l.stopEverything(); err != nil {
		return err
	}
	if keepData {
		if state != nil {
			state.Ready = false
			return l.saveState(state)
		}
		return nil
	}
	// cluster.json goes last, so that an interrupted removal can be repeated.
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if p := l.path(e.Name()); p != l.stateFile() {
			if err := os.RemoveAll(p); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(l.Dir)
}

// stopEverything ends the processes and removes what lies outside of the folder.
func (l Layout) stopEverything() error {
	records, err := filepath.Glob(l.record("*"))
	if err != nil {
		return err
	}
	// The supervisor last: others use what it runs.
	sort.Slice(records, func(i, j int) bool { return records[j] == l.record(rootRecord) && records[i] != records[j] })
	for _, file := range records {
		id, err := process.Recorded(file)
		if err != nil {
			return err
		}
		if err := id.Stop(12 * time.Second); err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSuffix(filepath.Base(file), ".pid"), err)
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	if err := l.stopChildren(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil // such a cluster has no node
	}
	if err := forgetNetNS(l.NetNS()); err != nil {
		return err
	}
	if err := removeCgroup(l.Cgroup(), 15*time.Second); err != nil {
		return err
	}
	if err := l.unmountBelow(); err != nil {
		return err
	}
	l.removeSharedFolders()
	// The pods are gone, and with them the use of their addresses and sockets.
	for _, d := range []string{"/run", "/var/lib/cni"} {
		if err := os.RemoveAll(l.node("root", d)); err != nil {
			return err
		}
	}
	return nil
}

// stopChildren waits for the components of a killed supervisor, which the kernel
// is about to end: as long as they run, they hold ports and the database. Those
// of a node ended together with its first process.
func (l Layout) stopChildren() error {
	state, err := l.loadState()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(l.childRecord("*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		id, err := process.Recorded(file)
		if err != nil {
			return err
		}
		if state != nil && !state.Node {
			if err := id.Stop(3 * time.Second); err != nil {
				return fmt.Errorf("%s: %w", strings.TrimSuffix(filepath.Base(file), ".child"), err)
			}
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// removeSharedFolders removes the two folders which all nodes of the machine
// share as mount points, after the last one.  (Removing a folder also takes away
// what other namespaces have mounted there.)
func (l Layout) removeSharedFolders() {
	if others, _ := filepath.Glob(filepath.Join(netnsFolder, "fm-*")); len(others) == 0 {
		_ = os.Remove(volumesFolder) // only if empty
		_ = os.Remove(netnsFolder)
	}
}

// unmountBelow unmounts what others mounted below the folder, so that removing
// the folder does not reach into it.  The node's own mounts are not among these:
// they ended with its namespace.
func (l Layout) unmountBelow() error {
	points, err := mountsBelow("/proc/self/mounts", l.Dir)
	if err != nil {
		return err
	}
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}

// mountsBelow lists mount points strictly below dir, the latest mounted first.
func mountsBelow(table, dir string) ([]string, error) {
	f, err := os.Open(table)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		if p := unescape.Replace(fields[1]); strings.HasPrefix(p, dir+"/") {
			points = append([]string{p}, points...)
		}
	}
	return points, lines.Err()
}
