// Compiled in place of the upstream file: a province's nodes are not Amazon's, and its client is a quarter of the program.
package routing

func (*NetworkRoutingController) disableSourceDestinationCheck() {}
