export { Editor } from './editor.jsx';
export { NewProgram } from './new.jsx';
