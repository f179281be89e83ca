import React, {useEffect, useState} from "react";
import {createRoot} from "react-dom/client";

function Whales() {
  const [names, setNames] = useState([]);
  useEffect(() => {
    fetch("/api/whales").then(response => response.json()).then(setNames);
  }, []);
  return <ul>{names.map(name => <li key={name}>{name}</li>)}</ul>;
}

createRoot(document.getElementById("root")).render(<Whales />);
