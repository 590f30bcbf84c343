"""What the applications of the protocols with CGI variables have in common: SCGI, FastCGI and uwsgi."""
