// Compiled in place of the upstream file, which renders the schemas of Pulumi Cloud's own API.
package cloud

import "strings"

func mdInline(text string) string { return strings.Join(strings.Fields(text), " ") }

func markdownEnumTail(values []string) string { return strings.Join(values, ", ") }
