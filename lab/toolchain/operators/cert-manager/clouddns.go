// Compiled in place of the upstream file: certificates of a province are signed by its own CA or the Government's, and the
// client of Google Cloud is many times as large as the rest. Its solver is there and says so.
package clouddns

import (
	"errors"
)

var errLeftOut = errors.New("this build of cert-manager has no client of Google Cloud")

// DNSProvider has no client.
type DNSProvider struct{}

// NewDNSProvider always fails.
func NewDNSProvider(_ string, _ []byte, _ []string, _ bool, _ string) (*DNSProvider, error) {
	return nil, errLeftOut
}

// Present always fails.
func (*DNSProvider) Present(_, _, _ string) error { return errLeftOut }

// CleanUp always fails.
func (*DNSProvider) CleanUp(_, _, _ string) error { return errLeftOut }
