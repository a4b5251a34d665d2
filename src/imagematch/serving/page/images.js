// Choosing an image: dropped, pasted, from a file, or from the camera where the browser allows it.

import { element } from "./server.js";
import { problem } from "./messages.js";

export function imageChoice(drop, chosen) {
  const what = drop.dataset.label;
  const preview = element("img", { alt: "", hidden: "" });
  const file = element("input", { type: "file", accept: "image/*", "aria-label": `Choose ${what}` });
  const hint = element("span", { class: "soft" }, `Drop or paste ${what} here, or choose a file`);
  const buttons = element("div", { class: "row" }, file);
  drop.append(preview, hint, buttons);

  function take(blob) {
    if (!blob) return;
    preview.src = URL.createObjectURL(blob);
    preview.alt = what;
    preview.hidden = false;
    hint.hidden = true;
    chosen(blob);
  }

  file.addEventListener("change", () => take(file.files[0]));
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
  if (navigator.mediaDevices?.getUserMedia) buttons.append(cameraButton(drop, take));
  return take;
}

function cameraButton(drop, take) {
  const button = element("button", { type: "button" }, "Use the camera");
  let video = null;
  async function shoot() {
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    stop();
    take(await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95)));
  }
  function stop() {
    for (const track of video.srcObject.getTracks()) track.stop();
    video.remove();
    video = null;
    button.textContent = "Use the camera";
  }
  button.addEventListener("click", async () => {
    if (video) {
      await shoot();
      return;
    }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: true });
      video = element("video", { autoplay: "", playsinline: "", "aria-label": "Camera" });
      video.srcObject = stream;
      drop.prepend(video);
      button.textContent = "Take the image";
    } catch {
      problem("The camera cannot be used: the browser does not allow it, or there is none.");
    }
  });
  return button;
}
