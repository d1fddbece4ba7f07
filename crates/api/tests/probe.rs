#[test]
fn probe() {
    let mut total = 0;
    for crd in function_mesh_api::crd::all().unwrap() {
        let text = serde_json::to_string(&crd).unwrap();
        println!("{} {}", crd.metadata.name.as_deref().unwrap(), text.len());
        std::fs::write(format!("/tmp/{}.json", crd.metadata.name.as_deref().unwrap()), serde_json::to_string_pretty(&crd).unwrap()).unwrap();
        total += text.len();
    }
    let f: function_mesh_api::Function = function_mesh_api::parse(serde_json::json!({"apiVersion":"compute.functionmesh.io/v1alpha1","kind":"Function","metadata":{"name":"x"},"spec":{"resources":{"limits":{"cpu":1,"memory":1000000000}, "requests":{"cpu":0.5}}}})).unwrap();
    println!("{:?} {total}", f.spec.resources);
}
