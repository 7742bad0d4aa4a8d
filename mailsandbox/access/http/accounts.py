"""Accounts and their mailboxes."""

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from mailsandbox.access.http import shapes
from mailsandbox.access.http.context import HttpContext
from mailsandbox.access.http.endpoints import Endpoint
from mailsandbox.access.http.problems import invalid
from mailsandbox.access.http.typed import Json, body
from mailsandbox.errors import NoSuchAccount
from mailsandbox.store.credentials import canonical


def may_exist(context: HttpContext, request: HTTPConnection) -> str:
    """The account of the path, whether or not it has come into being. Raises NoSuchAccount where it never can."""
    address = canonical(request.path_params["address"])
    if not context.credentials.may_exist(address):
        raise NoSuchAccount(f"no account {address!r}, and the configuration lets none appear")
    return address


async def existing(context: HttpContext, address: str) -> str:
    """`address` in canonical form. Raises NoSuchAccount."""
    address = canonical(address)
    if address not in await context.store.accounts():
        raise NoSuchAccount(f"no account {address!r}")
    return address


async def list_accounts(context: HttpContext, _: Request) -> Response:
    """GET /v1/accounts."""
    views = [await _view(context, address) for address in sorted(await context.store.accounts())]
    return Json(shapes.Accounts(views))


async def create_account(context: HttpContext, request: Request) -> Response:
    """POST /v1/accounts: 201, or 200 where it is there already."""
    wanted = await body(request, shapes.NewAccount, limit=context.options.max_body)
    address = canonical(wanted.address)
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or any(ord(character) <= 32 or character in "/?#" for character in address):
        raise invalid(f"{wanted.address!r} is not local@domain", where="/address")
    if not context.credentials.may_exist(address):
        raise invalid(
            f"the configuration lets no account {address!r} appear ([accounts] any = false)", where="/address"
        )
    known = address in await context.store.accounts()
    await context.store.ensure_account(address)
    headers = {"Location": f"/v1/accounts/{address}/mailboxes"}
    return Json(await _view(context, address), 200 if known else 201, headers=headers)


async def delete_account(context: HttpContext, request: Request) -> Response:
    """DELETE /v1/accounts/{address}: the account with all its mail."""
    await context.store.delete_account(await existing(context, request.path_params["address"]))
    return Response(status_code=204)


async def list_mailboxes(context: HttpContext, request: Request) -> Response:
    """GET /v1/accounts/{address}/mailboxes."""
    address = await existing(context, request.path_params["address"])
    return Json(
        shapes.Mailboxes(
            [
                shapes.MailboxView(
                    name=status.name,
                    messages=status.messages,
                    unseen=status.unseen,
                    uid_validity=status.uid_validity,
                    uid_next=status.uid_next,
                    highest_mod_seq=status.highest_mod_seq,
                    octets=status.octets,
                    mailbox_id=status.mailbox_id,
                    special_use=status.special_use,
                    subscribed=status.subscribed,
                )
                for status in await context.store.mailboxes(address)
            ]
        )
    )


async def _view(context: HttpContext, address: str) -> shapes.Account:
    statuses = await context.store.mailboxes(address)
    return shapes.Account(
        address=address,
        messages=sum(status.messages for status in statuses),
        unseen=sum(status.unseen for status in statuses),
        octets=sum(status.octets for status in statuses),
        cursor=await context.store.last_seq(address),
    )


ENDPOINTS = (
    Endpoint("GET", "/v1/accounts", list_accounts, "All accounts", gives=shapes.Accounts),
    Endpoint(
        "POST",
        "/v1/accounts",
        create_account,
        "Make an account before its first message or login",
        takes=(shapes.NewAccount,),
        gives=shapes.Account,
        status=201,
    ),
    Endpoint(
        "DELETE", "/v1/accounts/{address}", delete_account, "Delete an account with its mail", status=204, also=(404,)
    ),
    Endpoint(
        "GET",
        "/v1/accounts/{address}/mailboxes",
        list_mailboxes,
        "The mailboxes of an account",
        gives=shapes.Mailboxes,
        also=(404,),
    ),
)
