
// Optional: the page says everything without it. What marks of charts say stands beside the pointer, and a link to
// trials that are folded away unfolds them in browsers that do not do so themselves.
(() => {
  const box = document.createElement("div");
  box.className = "hover";
  box.hidden = true;
  box.setAttribute("aria-hidden", "true");
  document.body.append(box);
  const say = (mark, x, y) => {
    const title = mark.querySelector("title");
    if (title) {
      mark.dataset.says = title.textContent;
      title.remove();
    }
    box.textContent = mark.dataset.says || "";
    box.hidden = !box.textContent;
    const right = x + 14 + box.offsetWidth > window.innerWidth;
    box.style.left = `${Math.max(4, right ? x - 14 - box.offsetWidth : x + 14)}px`;
    box.style.top = `${Math.max(4, y - box.offsetHeight - 8)}px`;
  };
  document.addEventListener("pointermove", (event) => {
    const mark = event.target.closest && event.target.closest(".dot, .bars");
    if (mark) say(mark, event.clientX, event.clientY);
    else box.hidden = true;
  });
  document.addEventListener("focusin", (event) => {
    const mark = event.target.querySelector && event.target.closest("svg") && event.target.querySelector(".dot, .bars");
    if (!mark) return;
    const place = mark.getBoundingClientRect();
    say(mark, place.right, place.top);
  });
  const unfold = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.closest("details:not([open])");
    if (folded) {
      folded.open = true;
      target.scrollIntoView();
    }
  };
  window.addEventListener("hashchange", unfold);
  unfold();
})();
