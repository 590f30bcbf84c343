"""SCGI (https://python.ca/scgi/protocol.txt): one request on a connection, with the variables of CGI in a netstring."""
