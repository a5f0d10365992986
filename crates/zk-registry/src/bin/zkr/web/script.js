// The server writes the page; this puts newer parts in place of older ones, and sends changes.
'use strict';
const main = document.querySelector('main'), notice = document.querySelector('#notice');
const fragment = new URLSearchParams(location.hash.slice(1));
if (fragment.has('token')) {
  sessionStorage.setItem('token', fragment.get('token'));
  history.replaceState(null, '', location.pathname + location.search);
}
let held = false, newer = null, away = false;
const show = () => { if (!held && newer !== null) { main.innerHTML = newer; newer = null; } };
// A click is a press and a release on one element: it must not be replaced between them.
addEventListener('pointerdown', () => { held = true; });
for (const end of ['pointerup', 'pointercancel']) addEventListener(end, () => setTimeout(() => { held = false; show(); }, 50));
const events = new EventSource('/events' + location.search);
events.onopen = () => { if (away) notice.textContent = ''; away = false; document.body.dataset.state = 'open'; };
events.onmessage = event => { newer = event.data; show(); };
events.onerror = () => {
  away = true;
  document.body.dataset.state = 'away';
  notice.textContent = 'zkr does not answer: what is shown is old. Trying again.';
};
main.addEventListener('click', async event => {
  const { change, service, id, shown } = event.target.dataset;
  if (!change) return;
  let wish = change;
  if (change === 'weight') {
    wish = prompt(`Weight of ${id}, from 1 to 65535`);
    if (wish === null) return;
  } else if (!confirm(`${change} ${id}?`)) return;
  try {
    const answer = await fetch('/change', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'zkr-token': sessionStorage.getItem('token') || '' },
      body: JSON.stringify({ service, id, shown, wish }),
    });
    notice.textContent = (await answer.text()).trim();
  } catch (error) {
    notice.textContent = `not sent: ${error.message}`;
  }
});
