// Which of several requests for the same view is the one whose answer is shown.

/**
 * Functions that run `attempt(asking, isNewest)`, one for what a person asks and one for what the page asks by itself. The newest
 * question replaces others, but `refresh` does not replace a person's: it starts after it, and again if a person's replaced it.
 */
export function inOrder(attempt) {
  let [current, held] = [undefined, undefined];
  const start = async (question) => {
    current = question;
    let next;
    try {
      await attempt(question.asking, () => current === question);
    } finally {
      if (current === question) [next, current, held] = [held, undefined, undefined];
    }
    if (next) await start(next);
  };
  const ask = (asking) => {
    if (current && !current.isOfPerson) held = current;
    return start({ asking, isOfPerson: true });
  };
  const refresh = async (asking) => {
    if (current?.isOfPerson) held = { asking };
    else await start({ asking });
  };
  return { ask, refresh };
}
