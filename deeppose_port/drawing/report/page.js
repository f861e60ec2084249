"use strict";
(() => {
  const index = JSON.parse(document.getElementById("index").textContent);
  const gallery = document.getElementById("gallery");
  const form = document.getElementById("controls");
  const large = document.getElementById("large");
  const control = (name) => document.getElementById(name);
  const items = [...gallery.children].map((element) => ({
    element,
    person: index.persons[Number(element.dataset.i)],
    text: "",
  }));
  for (const item of items) {
    item.text = `${item.person.file} line ${item.person.line}`.toLowerCase();
  }

  // A joint's error, or the mean over those that are annotated: null where there is none, Infinity without an answer.
  function pixels(person, subject, joint) {
    const errors = joint === "" ? person.errors[subject] : [person.errors[subject][Number(joint)]];
    const annotated = errors.filter((error) => error !== null);
    if (!annotated.length) return null;
    if (annotated.some((error) => error < 0)) return Infinity;
    return annotated.reduce((sum, error) => sum + error, 0) / annotated.length;
  }

  function subject() {
    return control("subject") ? Number(control("subject").value) : index.subjects.length - 1;
  }

  function shownError(error, box) {
    if (error === null) return ["not annotated", ""];
    if (!Number.isFinite(error)) return ["no answer", ""];
    return [`${error.toFixed(1)} px`, box ? `${Math.round((100 * error) / box)} %` : ""];
  }

  let writtenJoint = "";
  function writeErrors(joint) {
    if (joint === writtenJoint) return;
    writtenJoint = joint;
    for (const { element, person } of items) {
      element.querySelectorAll(".error").forEach((shown, k) => {
        const [first, second] = shownError(pixels(person, k, joint), person.box);
        shown.querySelector("b").textContent = first;
        shown.lastChild.textContent = ` ${second}`;
      });
    }
  }

  // Persons that are filtered out leave the document: hiding thousands of them is slower.
  let placed = items;
  function place(sorted) {
    if (sorted.length === placed.length && sorted.every((item, i) => item === placed[i])) return;
    placed = sorted;
    gallery.replaceChildren(...sorted.map((item) => item.element));
  }

  function update() {
    const joint = control("joint").value;
    const sort = control("sort").value;
    const order = Number(control("order").value);
    const least = Number(control("least").value) / 100 || 0;
    const words = control("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = items.filter((item) => {
      const person = item.person;
      const error = pixels(person, subject(), joint);
      const relative = error === null ? null : person.box ? error / person.box : Infinity;
      const moved = person.moved < 0 ? Infinity : person.moved;
      const keys = { relative, pixels: error, moved, file: person.file, line: person.line };
      item.key = keys[sort];
      return error !== null && relative >= least && words.every((word) => item.text.includes(word));
    });
    const rank = (key) => (key === null ? -1 : key);
    const compared = (a, b) =>
      typeof a.key === "string" ? a.key.localeCompare(b.key) : rank(a.key) === rank(b.key) ? 0 : rank(a.key) - rank(b.key);
    place(kept.sort((a, b) => order * compared(a, b) || a.person.line - b.person.line));
    writeErrors(joint);
    control("count").textContent = `${kept.length} of ${items.length} persons`;
  }

  function element(name, text, parent) {
    const made = document.createElement(name);
    if (text !== null) made.textContent = text;
    parent.append(made);
    return made;
  }

  function shownIn(cell, error) {
    return error === null ? "–" : cell && error < 0 || !Number.isFinite(error) ? "no answer" : error.toFixed(1);
  }

  let enlarged = null;
  function step(by) {
    const there = placed.findIndex((item) => item.element === enlarged) + by;
    if (there >= 0 && there < placed.length) enlarge(placed[there].element, by);
  }

  // `by` is how one came here: -1 and 1 from the person before and after.
  function enlarge(item, by = 0) {
    enlarged = item;
    const place = placed.findIndex((one) => one.element === item);
    large.replaceChildren();
    const content = element("div", null, large);
    content.className = "content";
    const picture = item.querySelector(".picture").cloneNode(true);
    for (const name of ["role", "tabindex", "aria-label"]) picture.removeAttribute(name);
    content.append(picture);
    const side = element("div", null, content);
    side.className = "side-by";
    const person = index.persons[Number(item.dataset.i)];
    element("h3", `${person.file}, line ${person.line}`, side);
    const table = element("table", null, side);
    table.className = "numbers";
    const head = element("tr", null, element("thead", null, table));
    for (const name of ["joint", ...index.subjects.map((name) => (index.subjects.length > 1 ? `${name}, px` : "error, px"))]) {
      element("th", name, head).scope = "col";
    }
    const body = element("tbody", null, table);
    index.joints.forEach((joint, j) => {
      const row = element("tr", null, body);
      element("th", joint, row).scope = "row";
      for (const errors of person.errors) element("td", shownIn(true, errors[j]), row);
    });
    const foot = element("tr", null, element("tfoot", null, table));
    element("th", "mean", foot).scope = "row";
    index.subjects.forEach((_, k) => element("td", shownIn(false, pixels(person, k, "")), foot));
    const key = control("sides").cloneNode(true);
    key.removeAttribute("id");
    side.append(key);
    const buttons = element("p", null, side);
    buttons.className = "buttons";
    const turns = { "-1": element("button", "Previous", buttons), 1: element("button", "Next", buttons) };
    turns[-1].disabled = place === 0;
    turns[1].disabled = place === placed.length - 1;
    for (const way of [-1, 1]) turns[way].addEventListener("click", () => step(way));
    const close = element("button", "Close", buttons);
    close.addEventListener("click", () => large.close());
    element("span", `${place + 1} of ${placed.length}`, buttons);
    if (!large.open) large.showModal();
    (by && !turns[by].disabled ? turns[by] : close).focus({ preventScroll: true });
    large.scrollTop = 0;
  }

  for (const { element: item, person } of items) {
    const picture = item.querySelector(".picture");
    picture.tabIndex = 0;
    picture.setAttribute("role", "button");
    picture.setAttribute("aria-label", `Enlarge ${person.file}, line ${person.line}`);
  }
  gallery.addEventListener("click", (event) => {
    const picture = event.target.closest(".picture");
    if (picture) enlarge(picture.closest("li"));
  });
  gallery.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && event.target.matches(".picture")) {
      event.preventDefault();
      enlarge(event.target.closest("li"));
    }
  });
  large.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) step(by);
  });
  large.addEventListener("click", (event) => {
    if (event.target === large) large.close();
  });
  // What is folded is printed too.
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details:not([open])")) {
      folded.dataset.folded = "";
      folded.open = true;
    }
  });
  addEventListener("afterprint", () => {
    for (const folded of document.querySelectorAll("details[data-folded]")) {
      delete folded.dataset.folded;
      folded.open = false;
    }
  });
  form.addEventListener("input", update);
  form.hidden = false;
  document.body.classList.add("scripted-on");
  control("count").textContent = `${items.length} of ${items.length} persons`;
})();
