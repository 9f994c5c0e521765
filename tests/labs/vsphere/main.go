// vcsim for tests: an inventory of two clusters, one of x86-64 and one of Arm hosts, and knobs under /lab/.
//
//	GET /lab/task?name=cloneVm&delay=500ms    tasks of that name take their time
//	GET /lab/fail?name=powerOn&n=1            the next n tasks of that name fail for want of memory
//	GET /lab/idle?after=1s                    idle sessions end
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	m := simulator.VPX()
	address := flag.String("l", "127.0.0.1:0", "address to listen on")
	cert := flag.String("cert", "", "certificate file")
	key := flag.String("key", "", "key file")
	user := flag.String("user", "admin", "who may log in")
	password := flag.String("password-file", "", "file with the password")
	arm := flag.String("arm", "DC0_C1", "cluster whose hosts are Arm")
	model := flag.String("arm-model", "Kunpeng-920", "what Arm hosts call their processor")
	flag.IntVar(&m.Cluster, "cluster", 2, "clusters")
	flag.IntVar(&m.ClusterHost, "host", 2, "hosts of a cluster")
	flag.IntVar(&m.Machine, "vm", 2, "virtual machines of a cluster")
	flag.IntVar(&m.Datastore, "ds", 2, "datastores")
	flag.IntVar(&m.Portgroup, "pg", 2, "port groups")
	flag.Parse()
	if os.Getenv("VCSIM_VERBOSE") == "" {
		log.SetOutput(devNull{})
	}
	m.Host = 0
	if err := m.Create(); err != nil {
		fail(err)
	}
	defer m.Remove()
	simulator.LabArm(*arm, *model)
	secret, err := os.ReadFile(*password)
	if err != nil {
		fail(err)
	}
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		fail(err)
	}
	m.Service.Listen = &url.URL{Host: *address, User: url.UserPassword(*user, string(secret))}
	m.Service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	m.Service.ServeMux = http.NewServeMux()
	m.Service.ServeMux.HandleFunc("/lab/task", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("delay"))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		simulator.Lab.Delay(r.URL.Query().Get("name"), d)
	})
	m.Service.ServeMux.HandleFunc("/lab/fail", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		simulator.Lab.Fail(r.URL.Query().Get("name"), n)
	})
	m.Service.ServeMux.HandleFunc("/lab/idle", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.URL.Query().Get("after"))
		simulator.LabSession(d)
	})
	s := m.Service.NewServer()
	simulator.Lab.Ready = true
	fmt.Println(s.URL.Host)
	done := make(chan os.Signal, 1)
	signal.Notify(done, syscall.SIGINT, syscall.SIGTERM)
	<-done
	s.Close()
}

type devNull struct{}

func (devNull) Write(p []byte) (int, error) { return len(p), nil }

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
