"""FastCGI 1.0, the responder role: records in, requests out, and the records of responses.

The specification is https://fastcgi-archives.github.io/FastCGI_Specification.html; "FastCGI 1.0 section 5.1" is in it.
"""
