// Command waf looks at requests for Envoy's external processing filter, with Coraza and the OWASP Core Rule Set.
//
// What differs between hosts (paranoia level, methods, exceptions) is written in the rules' own language in the file
// that -rules names. Responses are not looked at. It changes nothing in a request: it lets it pass or answers itself.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// Upstream's settings, then what differs here; the rules of the site come between the set-up of the rule set and its
// rules, where the rule set wants exceptions to be. Bodies are limited by Envoy, which refuses what is larger with 413:
// the limit here only keeps the engine's own, smaller one from refusing first.
const before = `
Include @coraza.conf-recommended
SecRuleEngine On
SecRequestBodyLimit 1073741824
SecRequestBodyInMemoryLimit 1073741824
SecResponseBodyAccess Off
SecAuditEngine Off
Include @crs-setup.conf.example
`
const after = "\nInclude @owasp_crs/*.conf\n"

// The rules of the rule set that add up what was found, after the headers and after the body, and refuse a request.
var verdicts = []int{949110, 949111}

// Rules of the rule set between these only prepare.
const setUp, findings = 900000, 910000

// A server reads as many requests at once as there are processors. The others wait, and are not read at all when Envoy
// has given them up meanwhile: many slow requests cannot make it work for nobody.
type server struct {
	procv3.UnimplementedExternalProcessorServer
	waf   coraza.WAF
	slots chan struct{}
}

// turn waits until a request may be read; the caller calls what it returns when that is done.
func (s *server) turn(wanted context.Context) (func(), error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-wanted.Done():
		return nil, wanted.Err()
	}
}

// look is one request on its way through the rules.
type look struct {
	tx                         types.Transaction
	client, method, host, path string
}

// finding is a line of the log: which rules, never what they matched, which may be somebody's data.
type finding struct {
	Time    string `json:"time"`
	Client  string `json:"client"`
	Method  string `json:"method"`
	Host    string `json:"host"`
	Path    string `json:"path"`
	Refused bool   `json:"refused"`
	Rules   []int  `json:"rules"`
	Says    string `json:"says"`
}

// Process serves one request: its headers, and its body when Envoy was told to send it.
func (s *server) Process(stream procv3.ExternalProcessor_ProcessServer) (err error) {
	var current *look
	defer func() {
		if current != nil {
			current.end()
		}
		// One request that the engine cannot bear must not end everybody's: Envoy does what it was told for errors.
		if defect := recover(); defect != nil {
			log.Printf("defect: %v\n%s", defect, debug.Stack())
			err = status.Error(codes.Internal, "defect")
		}
	}()
	for {
		message, err := stream.Recv()
		if err != nil {
			return nil // Envoy has closed the stream, or is gone
		}
		answer, err := s.read(stream.Context(), &current, message)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// read runs the rules over one part of a request.
func (s *server) read(
	wanted context.Context, current **look, message *procv3.ProcessingRequest,
) (*procv3.ProcessingResponse, error) {
	done, err := s.turn(wanted)
	if err != nil {
		return nil, err
	}
	defer done()
	switch part := message.Request.(type) {
	case *procv3.ProcessingRequest_RequestHeaders:
		if *current == nil {
			*current = s.begin(message, part.RequestHeaders)
		}
		all := part.RequestHeaders.EndOfStream ||
			message.GetProtocolConfig().GetRequestBodyMode() == modev3.ProcessingMode_NONE
		return (*current).headers(all)
	case *procv3.ProcessingRequest_RequestBody:
		return (*current).body(part.RequestBody)
	default: // nothing else was asked for
		return &procv3.ProcessingResponse{}, nil
	}
}

func (s *server) begin(message *procv3.ProcessingRequest, sent *procv3.HttpHeaders) *look {
	attributes := message.GetAttributes()["envoy.filters.http.ext_proc"].GetFields()
	l := &look{tx: s.waf.NewTransaction(), client: attributes["source.address"].GetStringValue()}
	from, _ := netip.ParseAddrPort(l.client)
	l.tx.ProcessConnection(from.Addr().Unmap().String(), int(from.Port()), "", 0)
	headers := sent.GetHeaders().GetHeaders()
	for _, header := range headers {
		switch header.Key {
		case ":method":
			l.method = value(header)
		case ":path":
			l.path = value(header)
		case ":authority":
			l.host = value(header)
		}
	}
	l.tx.ProcessURI(l.path, l.method, attributes["request.protocol"].GetStringValue())
	l.tx.AddRequestHeader("Host", l.host)
	for _, header := range headers {
		if !strings.HasPrefix(header.Key, ":") {
			l.tx.AddRequestHeader(header.Key, value(header))
		}
	}
	name, _, _ := strings.Cut(l.host, ":") // names only: the gateway has no route for an address
	l.tx.SetServerName(strings.ToLower(name))
	return l
}

func value(header *corev3.HeaderValue) string {
	if raw := header.GetRawValue(); raw != nil {
		return string(raw)
	}
	return header.GetValue()
}

// headers looks at the headers; at everything when no body follows, because the rule set sums up after the body.
func (l *look) headers(done bool) (*procv3.ProcessingResponse, error) {
	found := l.tx.ProcessRequestHeaders()
	if found == nil && done {
		var err error
		if found, err = l.tx.ProcessRequestBody(); err != nil {
			return nil, err
		}
	}
	if found != nil {
		return refuse(found), nil
	}
	return &procv3.ProcessingResponse{
		Response: &procv3.ProcessingResponse_RequestHeaders{RequestHeaders: &procv3.HeadersResponse{}},
	}, nil
}

func (l *look) body(sent *procv3.HttpBody) (*procv3.ProcessingResponse, error) {
	found, _, err := l.tx.WriteRequestBody(sent.GetBody())
	if err == nil && found == nil && sent.GetEndOfStream() {
		found, err = l.tx.ProcessRequestBody()
	}
	if err != nil {
		return nil, err
	}
	if found != nil {
		return refuse(found), nil
	}
	return &procv3.ProcessingResponse{
		Response: &procv3.ProcessingResponse_RequestBody{RequestBody: &procv3.BodyResponse{}},
	}, nil
}

func refuse(found *types.Interruption) *procv3.ProcessingResponse {
	code := found.Status
	if code == 0 {
		code = 403
	}
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ImmediateResponse{
		ImmediateResponse: &procv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(code)},
			Body:    []byte("The request was refused.\n"),
			Details: "waf",
		},
	}}
}

// end writes a line about a request that was refused, or would have been, and frees what the engine kept.
func (l *look) end() {
	line := finding{
		Time: time.Now().UTC().Format(time.RFC3339Nano), Client: l.client, Method: l.method, Host: l.host,
		Refused: l.tx.IsInterrupted(),
	}
	line.Path, _, _ = strings.Cut(l.path, "?")
	worth := line.Refused
	for _, match := range l.tx.MatchedRules() {
		if id := match.Rule().ID(); match.Message() != "" && (id < setUp || id >= findings) {
			worth = worth || slices.Contains(verdicts, id)
			line.Rules = append(line.Rules, id)
			if line.Says == "" {
				line.Says = match.Message()
			}
		}
	}
	if worth {
		_ = json.NewEncoder(os.Stdout).Encode(line)
	}
	if err := l.tx.Close(); err != nil {
		log.Print(err)
	}
}

func main() {
	address := flag.String("listen", "[::]:9000", "address of the server, both families")
	rules := flag.String("rules", "/etc/waf/site.conf", "file with the rules of the site")
	flag.Parse()
	own, err := os.ReadFile(*rules)
	if err != nil {
		log.Fatal(err)
	}
	config := coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(before + string(own) + after)
	waf, err := coraza.NewWAF(config)
	if err != nil {
		log.Fatalf("the rules are not understood: %v", err)
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	// A body comes in one message.
	service := grpc.NewServer(grpc.MaxRecvMsgSize(1 << 30))
	procv3.RegisterExternalProcessorServer(service, &server{waf: waf, slots: make(chan struct{}, runtime.GOMAXPROCS(0))})
	healthpb.RegisterHealthServer(service, health.NewServer())
	stopped, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	go func() {
		<-stopped.Done()
		time.AfterFunc(5*time.Second, service.Stop)
		service.GracefulStop()
	}()
	log.Printf("listening on %s", listener.Addr())
	if err := service.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
