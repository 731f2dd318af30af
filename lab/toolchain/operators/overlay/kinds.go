// Compiled in place of the Go SDK's yaml/v2/kinds.go, which names every kind of every Kubernetes version and with them
// the whole typed SDK: a third of what the provider compiles. Only the provider's own components (ConfigFile, ConfigGroup,
// Chart, Directory) ask it; here they register every object untyped, under the same tokens.
package v2

import (
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

type untyped struct{ pulumi.CustomResourceState }

// IsListKind tells whether a kind of Kubernetes itself is a list of objects.
func IsListKind(apiVersion, kind string) bool {
	group, _, named := strings.Cut(apiVersion, "/")
	own := !named || !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io")
	return own && strings.HasSuffix(kind, "List")
}

// RegisterResource registers an object of any kind.
func RegisterResource(ctx *pulumi.Context, apiVersion, kind, name string, props pulumi.Input,
	opts ...pulumi.ResourceOption) (pulumi.CustomResource, error) {
	if !strings.Contains(apiVersion, "/") {
		apiVersion = "core/" + apiVersion
	}
	var object untyped
	if err := ctx.RegisterResource("kubernetes:"+apiVersion+":"+kind, name, props, &object, opts...); err != nil {
		return nil, err
	}
	return &object, nil
}
