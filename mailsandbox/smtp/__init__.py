"""Words that both sides of SMTP use: replies, extensions, parameters, paths, framing. Pure."""
