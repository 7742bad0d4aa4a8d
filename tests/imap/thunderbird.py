"""A profile of Thunderbird with one IMAP account, and the program run on it without a display.

The password is written as Thunderbird keeps it, encrypted by its own NSS library: nobody is there to be asked.
"""

import base64
import contextlib
import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path("/usr/lib/thunderbird/libnss3.so")


def write_profile(folder: Path, *, port: int, user: str, password: str) -> None:
    """An account that logs in at once, keeps everything offline and waits in IDLE."""
    server, local = "mail.server.server1.", "mail.server.server2."
    preferences: dict[str, object] = {
        "mail.accountmanager.accounts": "account1,account2",
        "mail.accountmanager.defaultaccount": "account1",
        "mail.accountmanager.localfoldersserver": "server2",
        "mail.account.account1.server": "server1",
        "mail.account.account1.identities": "id1",
        "mail.account.account2.server": "server2",
        "mail.identity.id1.useremail": user,
        "mail.identity.id1.valid": True,
        f"{local}type": "none",
        f"{local}hostname": "Local Folders",
        f"{local}userName": "nobody",
        f"{server}type": "imap",
        f"{server}hostname": "127.0.0.1",
        f"{server}port": port,
        f"{server}userName": user,
        f"{server}socketType": 0,  # no TLS
        f"{server}authMethod": 3,  # the password, in clear
        f"{server}directory-rel": "[ProfD]ImapMail/server",
        f"{server}login_at_startup": True,
        f"{server}check_new_mail": True,
        f"{server}offline_download": True,
        f"{server}autosync_offline_stores": True,
        f"{server}use_idle": True,
        f"{server}use_condstore": True,
        f"{server}use_compress_deflate": True,
        # Nothing but the account: no start page, no updates, no questions.
        "mail.provider.enabled": False,
        "mail.rights.version": 1,
        "mail.shell.checkDefaultClient": False,
        "mail.spotlight.firstRunDone": True,
        "mailnews.start_page.enabled": False,
        "app.update.enabled": False,
        "browser.safebrowsing.enabled": False,
        "datareporting.policy.dataSubmissionEnabled": False,
        "extensions.update.enabled": False,
    }
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
    (folder / "prefs.js").write_text("".join(lines))
    name, secret = encrypted(folder, user, password)
    login = {
        "id": 1,
        "hostname": "imap://127.0.0.1",
        "httpRealm": "imap://127.0.0.1",
        "formSubmitURL": None,
        "usernameField": "",
        "passwordField": "",
        "encryptedUsername": name,
        "encryptedPassword": secret,
        "guid": "{00000001-0000-4000-8000-000000000000}",
        "encType": 1,
        "timeCreated": 1,
        "timeLastUsed": 1,
        "timePasswordChanged": 1,
        "timesUsed": 1,
    }
    (folder / "logins.json").write_text(json.dumps({"nextId": 2, "logins": [login], "version": 3}))


class _Item(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint), ("data", ctypes.c_void_p), ("len", ctypes.c_uint)]


def encrypted(folder: Path, *texts: str) -> list[str]:
    """The texts as logins.json holds them; the key goes to key4.db of the profile, without a master password."""
    nss = ctypes.CDLL(str(LIBRARY))
    nss.PK11_GetInternalKeySlot.restype = ctypes.c_void_p
    nss.PK11_InitPin.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    nss.PK11_Authenticate.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    assert nss.NSS_InitReadWrite(f"sql:{folder}".encode()) == 0
    try:
        slot = nss.PK11_GetInternalKeySlot()
        assert nss.PK11_InitPin(slot, None, None) == 0
        assert nss.PK11_Authenticate(slot, 1, None) == 0
        found = []
        for text in texts:
            octets = text.encode()
            data = ctypes.create_string_buffer(octets, len(octets))
            key, plain, result = _Item(), _Item(0, ctypes.addressof(data), len(octets)), _Item()
            assert nss.PK11SDR_Encrypt(ctypes.byref(key), ctypes.byref(plain), ctypes.byref(result), None) == 0
            found.append(base64.b64encode(ctypes.string_at(result.data, result.len)).decode())
        return found
    finally:
        nss.NSS_Shutdown()


@contextlib.contextmanager
def running(program: str, profile: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program on that profile."""
    process = subprocess.Popen(
        [program, "--headless", "--no-remote", "--profile", str(profile)],
        env={**os.environ, "HOME": str(home), "MOZ_HEADLESS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
