// load asks one address for the same page over a fixed number of connections for some seconds, and prints what came.
//
//	load -url https://NAME/ -to ADDRESS:PORT [-ca FILE] [-connections 16] [-seconds 10]
//
// It is for benchmarks of one's own machines: it speaks to private addresses only (RFC 1918, RFC 4193), and ends by itself.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	mostConnections = 256
	mostSeconds     = 60
	patience        = 10 * time.Second
)

type options struct {
	url, to, ca string
	connections int
	seconds     int
}

// answer is what is printed; times are milliseconds of one request.
type answer struct {
	Requests int            `json:"requests"`
	Seconds  float64        `json:"seconds"`
	Status   map[string]int `json:"status"`
	Errors   int            `json:"errors"`
	Error    string         `json:"error,omitempty"`
	P50      float64        `json:"p50"`
	P95      float64        `json:"p95"`
	P99      float64        `json:"p99"`
}

// seen is what one connection has seen.
type seen struct {
	times  []time.Duration
	status map[string]int
	errors int
	err    error
}

func main() {
	var o options
	flag.StringVar(&o.url, "url", "", "page")
	flag.StringVar(&o.to, "to", "", "address and port that are connected to, whatever the page's name")
	flag.StringVar(&o.ca, "ca", "", "file with the authority's certificate")
	flag.IntVar(&o.connections, "connections", 16, "number of connections")
	flag.IntVar(&o.seconds, "seconds", 10, "how long")
	flag.Parse()
	client, err := prepare(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	}
	if err := json.NewEncoder(os.Stdout).Encode(run(client, o)); err != nil {
		os.Exit(1)
	}
}

// prepare refuses what is not bounded or not private, and returns the client.
func prepare(o options) (*http.Client, error) {
	address, err := netip.ParseAddrPort(o.to)
	if err != nil {
		return nil, fmt.Errorf("-to %q: %w", o.to, err)
	}
	if !address.Addr().Unmap().IsPrivate() {
		return nil, fmt.Errorf("-to %s: not a private address", o.to)
	}
	if o.connections < 1 || o.connections > mostConnections {
		return nil, fmt.Errorf("-connections %d: 1 to %d", o.connections, mostConnections)
	}
	if o.seconds < 1 || o.seconds > mostSeconds {
		return nil, fmt.Errorf("-seconds %d: 1 to %d", o.seconds, mostSeconds)
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.ca != "" {
		text, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, err
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("-ca %s: no certificate", o.ca)
		}
	}
	dialer := &net.Dialer{Timeout: patience}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address.String())
		},
		TLSClientConfig:     trust,
		MaxConnsPerHost:     o.connections,
		MaxIdleConnsPerHost: o.connections,
		DisableCompression:  true,
		// One request at a time on each connection, with and without TLS alike: HTTP/1.1.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: transport, Timeout: patience, CheckRedirect: stay}, nil
}

// run lets every connection ask once before the clock starts: handshakes are not what is measured.
func run(client *http.Client, o options) answer {
	all := make([]seen, o.connections)
	each(all, func(s *seen) { _ = s.ask(client, o.url) })
	for i := range all {
		if all[i].err != nil {
			return answer{Errors: 1, Error: all[i].err.Error(), Status: map[string]int{}}
		}
		all[i] = seen{}
	}
	start := time.Now()
	end := start.Add(time.Duration(o.seconds) * time.Second)
	each(all, func(s *seen) {
		for time.Now().Before(end) && s.errors < 100 {
			began := time.Now()
			if s.ask(client, o.url) == nil {
				s.times = append(s.times, time.Since(began))
			}
		}
	})
	return sum(all, time.Since(start))
}

func each(all []seen, work func(*seen)) {
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() { work(&all[i]) })
	}
	group.Wait()
}

// ask asks once and reads the whole answer.
func (s *seen) ask(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		err = errors.Join(err, response.Body.Close())
	}
	if err != nil {
		s.errors++
		s.err = err
		return err
	}
	if s.status == nil {
		s.status = map[string]int{}
	}
	s.status[strconv.Itoa(response.StatusCode)]++
	return nil
}

func sum(all []seen, took time.Duration) answer {
	found := answer{Seconds: took.Seconds(), Status: map[string]int{}}
	var times []time.Duration
	for _, s := range all {
		times = append(times, s.times...)
		found.Errors += s.errors
		if s.err != nil {
			found.Error = s.err.Error()
		}
		for status, count := range s.status {
			found.Status[status] += count
		}
	}
	found.Requests = len(times)
	slices.Sort(times)
	at := func(percent int) float64 {
		if len(times) == 0 {
			return 0
		}
		return times[min(len(times)*percent/100, len(times)-1)].Seconds() * 1000
	}
	found.P50, found.P95, found.P99 = at(50), at(95), at(99)
	return found
}
