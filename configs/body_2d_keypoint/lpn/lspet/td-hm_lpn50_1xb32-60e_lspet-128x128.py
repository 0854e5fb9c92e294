_base_ = './td-hm_lpn50_1xb32-60e_lspet-256x256.py'

# codec settings
codec = dict(input_size=(128, 128), heatmap_size=(32, 32), sigma=1.5)

# model settings
model = dict(head=dict(decoder=codec))

# pipelines
train_pipeline = _base_.train_pipeline
train_pipeline[4].input_size = codec['input_size']
train_pipeline[5].encoder.update(codec)
val_pipeline = _base_.val_pipeline
val_pipeline[2].input_size = codec['input_size']

# data loaders
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
