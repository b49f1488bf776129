let turn = 0;
let ending = false;

/**
 * A number that stays the same for all that is handled with one look at the sockets. Requests that came in
 * together may be answered from one look at a file, too; the next ones look again.
 */
export function currentTurn(): number {
  if (!ending) {
    ending = true;
    setImmediate(() => {
      turn++;
      ending = false;
    });
  }
  return turn;
}
