// Compiled in place of the upstream file: certificates of a province are signed by its own CA or the Government's, and the
// client of Azure is many times as large as the rest. Its solver is there and says so.
package azuredns

import (
	"errors"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
)

var errLeftOut = errors.New("this build of cert-manager has no client of Azure")

// DNSProvider has no client.
type DNSProvider struct{}

// NewDNSProviderCredentials always fails.
func NewDNSProviderCredentials(_, _, _, _, _, _, _ string, _ []string, _ bool, _ *cmacme.AzureManagedIdentity) (*DNSProvider, error) {
	return nil, errLeftOut
}

// Present always fails.
func (*DNSProvider) Present(_, _, _ string) error { return errLeftOut }

// CleanUp always fails.
func (*DNSProvider) CleanUp(_, _, _ string) error { return errLeftOut }
