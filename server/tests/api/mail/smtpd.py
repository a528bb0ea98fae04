"""A mail server for tests: aiosmtpd, protected as it is told, that prints each message as a line of JSON."""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

SETTINGS = json.loads(sys.argv[1])


def say(**what):
    print(json.dumps(what), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        is_tls = server.transport.get_extra_info("ssl_object") is not None
        say(sender=envelope.mail_from, recipients=envelope.rcpt_tos, tls=is_tls,
            login=session.auth_data, data=envelope.content.decode())
        return SETTINGS["answers"].pop(0) if SETTINGS["answers"] else "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    login = [part.decode() for part in (data.login, data.password)]
    if login != SETTINGS["login"]:
        say(wrong=login)
        return AuthResult(success=False, handled=False)
    return AuthResult(success=True, auth_data=login[0])


def context():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(SETTINGS["certificate"], SETTINGS["key"])
    return tls


def smtp():
    is_starttls = SETTINGS["mode"] == "starttls"
    return SMTP(
        Handler(),
        hostname="localhost",
        tls_context=context() if is_starttls else None,
        require_starttls=is_starttls,
        authenticator=authenticate,
        auth_required=bool(SETTINGS["login"]),
        auth_require_tls=is_starttls,
    )


async def main():
    loop = asyncio.get_running_loop()
    tls = context() if SETTINGS["mode"] == "tls" else None
    server = await loop.create_server(smtp, "127.0.0.1", 0, ssl=tls)
    say(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
