// Package chattest owns what every chat platform must keep, as tests: Run holds
// the contract of chat.Platform and of the deliveries that reach a chat.Handler,
// and Fake is a platform in memory that keeps it.
//
// Its rule: what differs between platforms is data in the Harness, never an if
// in a test.
package chattest
