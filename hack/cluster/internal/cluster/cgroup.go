package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroupParents lists where the node's cgroup is made: below every controller of
// cgroups v1, or below the only root of v2.
func cgroupParents() (parents []string, v2 bool, err error) {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{cgroupRoot}, true, nil
	}
	found, err := filepath.Glob(filepath.Join(cgroupRoot, "*", "cgroup.procs"))
	if err != nil {
		return nil, false, err
	}
	seen := map[string]bool{}
	for _, f := range found {
		dir := filepath.Dir(f)
		real, err := filepath.EvalSymlinks(dir)
		// Names such as cpu and cpuacct often are links to one folder; "unified"
		// is the v2 tree beside v1, where there are no controllers.
		if err == nil && !seen[real] && filepath.Base(real) != "unified" {
			seen[real] = true
			parents = append(parents, real)
		}
	}
	if len(parents) == 0 {
		return nil, false, fmt.Errorf("no cgroups below %s: a node needs them mounted", cgroupRoot)
	}
	return parents, false, nil
}

func makeCgroup(name string) error {
	parents, v2, err := cgroupParents()
	if err != nil {
		return err
	}
	for _, parent := range parents {
		if v2 {
			for _, controller := range []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"} {
				// What is missing is reported by the kubelet, in better words.
				_ = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0)
			}
		}
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			return fmt.Errorf("cgroup of the node: %w", err)
		}
		// A cpuset of v1 is born empty, and then no process can join it.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			inherited, err := os.ReadFile(filepath.Join(parent, f))
			if v2 || err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, f), inherited, 0o644); err != nil {
				return fmt.Errorf("cgroup of the node: %w", err)
			}
		}
	}
	return nil
}

// removeCgroup removes the tree made by makeCgroup.  The kernel fails as long
// as an ended process is still being taken down, so this tries for a while.
func removeCgroup(name string, limit time.Duration) error {
	var trees []string
	// Looked for everywhere: the runtime also uses the v2 tree beside v1.
	for _, pattern := range []string{cgroupRoot, filepath.Join(cgroupRoot, "*")} {
		found, err := filepath.Glob(filepath.Join(pattern, name))
		if err != nil {
			return err
		}
		trees = append(trees, found...)
	}
	end := time.Now().Add(limit)
	for _, tree := range trees {
		for {
			err := removeEmptyTree(tree)
			if err == nil {
				break
			}
			if time.Now().After(end) {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// removeEmptyTree removes folders from the leaves up; in a cgroup the files go
// with their folder.
func removeEmptyTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeEmptyTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
