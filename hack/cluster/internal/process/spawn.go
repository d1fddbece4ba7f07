package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// A Spawner starts children that die with this process, however it ends.
//
// The kernel's parent-death signal is sent when the *thread* that made the
// child ends, so all children are made by one thread that never does.
type Spawner struct {
	requests chan func()
}

// NewSpawner starts the thread.
func NewSpawner() *Spawner {
	s := &Spawner{requests: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range s.requests {
			f()
		}
	}()
	return s
}

// A Child is a running component.
type Child struct {
	Name string
	// Done is closed when the child has ended; Err is set before.
	Done chan struct{}
	Err  error
	cmd  *exec.Cmd
}

// PID is the child's process id as this process sees it.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Start starts the command with its output appended to logFile.
func (s *Spawner) Start(name, logFile string, cmd *exec.Cmd) (*Child, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	started := make(chan error)
	s.requests <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c := &Child{Name: name, Done: make(chan struct{}), cmd: cmd}
	go func() {
		c.Err = cmd.Wait()
		if c.Err == nil {
			c.Err = errors.New("ended by itself with exit code 0")
		}
		close(c.Done)
	}()
	return c, nil
}

// Signal signals the child unless it has ended.
func (c *Child) Signal(sig os.Signal) { _ = c.cmd.Process.Signal(sig) }

// Ended reports whether the child has ended.
func (c *Child) Ended() bool {
	select {
	case <-c.Done:
		return true
	default:
		return false
	}
}
