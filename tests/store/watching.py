"""A client with a mailbox open, as a store's listeners make it see one: by the `View` that an IMAP session has."""

from mailsandbox.access.imap.view import View
from mailsandbox.store.logrow import Changes
from mailsandbox.store.model import Flags, Uid
from mailsandbox.store.state import MailboxState
from mailsandbox.store.store import Store


class Watcher:
    """Believes what it is told, at once as in IDLE. `wrong`: what it was told that cannot be."""

    def __init__(self, store: Store, state: MailboxState) -> None:
        self.state = state
        self.uids: list[Uid] = list(state.uids)
        self.flags: dict[Uid, Flags] = {uid: state.rows[uid].flags for uid in state.uids}
        self.wrong: list[str] = []
        self._view = View(state)
        store.listeners.append(self._told)

    def _told(self, changes: Changes) -> None:
        if own := [row for row in changes.rows if row.mailbox_key == self.state.key]:
            self._view.note(own)
        if not self.state.removed:
            self._pull()

    def _pull(self) -> None:
        pending = self._view.pull(expunge=True)
        for number, uid in pending.expunged:
            if number < 1 or self.uids[number - 1 : number] != [uid]:
                self.wrong.append(f"{number} EXPUNGE for UID {uid}, which has another number in {self.uids}")
            else:
                del self.uids[number - 1]
        self.uids += pending.new
        for uid in pending.new:
            self.flags[uid] = self.state.rows[uid].flags
        if pending.exists is not None and pending.exists != len(self.uids):
            self.wrong.append(f"{pending.exists} EXISTS, where {len(self.uids)} messages are known")
        for number, row in pending.flags:
            if self.uids[number - 1 : number] != [row.uid]:
                self.wrong.append(f"{number} FETCH for UID {row.uid}, which has another number")
            self.flags[row.uid] = row.flags

    def differences(self) -> list[str]:
        """What the client knows otherwise than the mailbox in memory has it."""
        if self.state.removed:
            return self.wrong
        known = {uid: self.flags[uid].text for uid in self.uids}
        held = {uid: row.flags.text for uid, row in self.state.rows.items()}
        return self.wrong if known == held else [*self.wrong, f"the client knows {known}, the mailbox has {held}"]
