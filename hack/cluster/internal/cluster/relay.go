package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Relay passes every connection accepted on an inherited listener on to an
// address.  A socket belongs to the network it was opened in: the listener's was
// the host's, and this process dials in the cluster's.
func Relay(fd uintptr, to string) error {
	file := os.NewFile(fd, "listener")
	if file == nil {
		return errors.New("this command is for `cluster up` and `cluster forward` alone")
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("inherited listener: %w", err)
	}
	file.Close()
	for {
		c, err := listener.Accept()
		if err != nil {
			if temporary, ok := err.(net.Error); ok && temporary.Timeout() {
				continue
			}
			// Out of file descriptors, most likely: others may end soon.
			fmt.Fprintln(os.Stderr, "relay:", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go relay(c.(*net.TCPConn), to)
	}
}

func relay(from *net.TCPConn, to string) {
	defer from.Close()
	c, err := net.DialTimeout("tcp", to, 10*time.Second)
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		return
	}
	target := c.(*net.TCPConn)
	defer target.Close()
	done := make(chan struct{}, 2)
	// Each direction ends by itself: a client may send its whole request, close
	// that half, and only then read.
	pass := func(into, outOf *net.TCPConn) {
		_, _ = io.Copy(into, outOf)
		_ = into.CloseWrite()
		done <- struct{}{}
	}
	go pass(target, from)
	go pass(from, target)
	<-done
	<-done
}
