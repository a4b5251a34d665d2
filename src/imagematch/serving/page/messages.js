// What went wrong and what was done, said where screen readers hear it.

export function problem(text) {
  const shown = document.querySelector("#problem");
  shown.textContent = text;
  shown.hidden = !text;
}

export function done(text) {
  document.querySelector("#status").textContent = text;
}

// Runs what a button or a choice wants; an error is shown, and nothing else is lost.
export async function attempt(work) {
  problem("");
  done("");
  try {
    return await work();
  } catch (error) {
    problem(error.message);
    return null;
  }
}
